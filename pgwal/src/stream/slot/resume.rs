//! Whether a slot can give everything that comes after what we have.
//!
//! The server starts a stream at the later of the position asked for and the slot's
//! `confirmed_flush_lsn`, without a word. So a slot that is further than what we hold would leave
//! a hole in silence: a slot that was dropped and made again under the same name (etl #935,
//! DBZ-5739), one that somebody else read from, or the slot of a migration whose spool was lost.

use router::Lsn;
use thiserror::Error;

use super::{SlotFacts, WalStatus};
use crate::stream::copy_both::SystemIdentity;

/// What is known when a stream is to go on.
#[derive(Debug, Clone, Copy)]
pub struct Resume<'a> {
    /// The slot's name.
    pub slot: &'a str,
    /// The slot, if there is one.
    pub facts: Option<&'a SlotFacts>,
    /// The source as it is.
    pub found: &'a SystemIdentity,
    /// The source as it was when the slot was made, if that was written down.
    pub expected: Option<&'a SystemIdentity>,
    /// The applied position on the target.
    pub applied: Lsn,
    /// The end of what the spool has after it, if it goes on from there.
    pub spooled: Option<Lsn>,
}

/// Why a stream cannot go on. None of these heals by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResumeError {
    /// There is no such slot.
    #[error(
        "replication slot \"{slot}\" does not exist on the source any more; changes after {applied} \
         may be lost, so the copy must start again"
    )]
    Missing {
        /// The slot.
        slot: String,
        /// The applied position.
        applied: Lsn,
    },
    /// The server has removed log that the slot needs.
    #[error(
        "replication slot \"{slot}\" is lost: the source has removed log that it needs (see \
         max_slot_wal_keep_size and idle_replication_slot_timeout); the copy must start again"
    )]
    Lost {
        /// The slot.
        slot: String,
    },
    /// The slot is not one of ours.
    #[error("replication slot \"{slot}\" is not a slot for pgoutput")]
    NotOurs {
        /// The slot.
        slot: String,
    },
    /// The slot does not have what comes after our position any more.
    #[error(
        "replication slot \"{slot}\" has given away everything up to {confirmed}, but only {held} \
         is applied or in the spool: the slot was made again or read by another, or the spool is \
         lost; the changes between cannot be had any more, so the copy must start again"
    )]
    Gap {
        /// The slot.
        slot: String,
        /// The slot's confirmed position.
        confirmed: Lsn,
        /// The end of what we hold.
        held: Lsn,
    },
    /// Another cluster answers at the source's address.
    #[error(
        "the source is another database cluster (system identifier {found}, was {expected}); check \
         the address, or start again with a new copy"
    )]
    OtherSystem {
        /// The identifier when the migration began.
        expected: String,
        /// The identifier now.
        found: String,
    },
    /// A standby was promoted in the source's place.
    #[error(
        "the source is on timeline {found}, was {expected}: another server was promoted in its \
         place, and what the slot held is not sure any more; the copy must start again"
    )]
    OtherTimeline {
        /// The timeline when the migration began.
        expected: i32,
        /// The timeline now.
        found: i32,
    },
}

/// Checks that nothing is missing between what we hold and what the slot will give.
///
/// # Errors
/// Something may be missing; the error says what, and that the copy must start again.
pub fn resume_check(resume: Resume<'_>) -> Result<(), ResumeError> {
    if let Some(expected) = resume.expected {
        same_source(expected, resume.found)?;
    }
    let slot = || resume.slot.to_owned();
    let Some(facts) = resume.facts else {
        return Err(ResumeError::Missing {
            slot: slot(),
            applied: resume.applied,
        });
    };
    if facts.plugin.as_deref() != Some("pgoutput") {
        return Err(ResumeError::NotOurs { slot: slot() });
    }
    if facts.wal_status == Some(WalStatus::Lost) || facts.restart_lsn.is_none() {
        return Err(ResumeError::Lost { slot: slot() });
    }
    let held = resume
        .spooled
        .map_or(resume.applied, |end| end.max(resume.applied));
    match facts.confirmed_flush_lsn {
        None => Err(ResumeError::NotOurs { slot: slot() }),
        Some(confirmed) if confirmed > held => Err(ResumeError::Gap {
            slot: slot(),
            confirmed,
            held,
        }),
        Some(_covered) => Ok(()),
    }
}

fn same_source(expected: &SystemIdentity, found: &SystemIdentity) -> Result<(), ResumeError> {
    if expected.system_id != found.system_id {
        return Err(ResumeError::OtherSystem {
            expected: expected.system_id.clone(),
            found: found.system_id.clone(),
        });
    }
    if expected.timeline != found.timeline {
        let (expected, found) = (expected.timeline, found.timeline);
        return Err(ResumeError::OtherTimeline { expected, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(system_id: &str, timeline: i32) -> SystemIdentity {
        SystemIdentity {
            system_id: system_id.to_owned(),
            timeline,
        }
    }

    fn facts(confirmed: u64) -> SlotFacts {
        SlotFacts {
            name: "s".into(),
            plugin: Some("pgoutput".into()),
            database: Some("shop".into()),
            active_pid: None,
            restart_lsn: Some(Lsn(1)),
            confirmed_flush_lsn: Some(Lsn(confirmed)),
            wal_status: Some(WalStatus::Reserved),
        }
    }

    fn check(facts: Option<&SlotFacts>, spooled: Option<u64>) -> Result<(), ResumeError> {
        let found = identity("7", 1);
        resume_check(Resume {
            slot: "s",
            facts,
            found: &found,
            expected: Some(&identity("7", 1)),
            applied: Lsn(100),
            spooled: spooled.map(Lsn),
        })
    }

    #[test]
    fn a_slot_at_or_before_what_we_hold_is_fine() {
        assert_eq!(check(Some(&facts(90)), None), Ok(()));
        assert_eq!(check(Some(&facts(100)), None), Ok(()));
        assert_eq!(check(Some(&facts(150)), Some(150)), Ok(()));
    }

    #[test]
    fn a_slot_beyond_what_we_hold_leaves_a_gap() {
        for spooled in [None, Some(120)] {
            let found = check(Some(&facts(150)), spooled);
            assert!(matches!(found, Err(ResumeError::Gap { .. })), "{found:?}");
        }
    }

    #[test]
    fn a_missing_a_lost_and_a_foreign_slot_are_refused() {
        assert!(matches!(
            check(None, None),
            Err(ResumeError::Missing { .. })
        ));
        let lost = SlotFacts {
            wal_status: Some(WalStatus::Lost),
            ..facts(90)
        };
        assert!(matches!(
            check(Some(&lost), None),
            Err(ResumeError::Lost { .. })
        ));
        let foreign = SlotFacts {
            plugin: Some("test_decoding".into()),
            ..facts(90)
        };
        assert!(matches!(
            check(Some(&foreign), None),
            Err(ResumeError::NotOurs { .. })
        ));
    }

    #[test]
    fn another_cluster_and_a_promoted_standby_are_refused() {
        let expected = identity("7", 1);
        let facts = facts(90);
        for found in [identity("8", 1), identity("7", 2)] {
            let refused = resume_check(Resume {
                slot: "s",
                facts: Some(&facts),
                found: &found,
                expected: Some(&expected),
                applied: Lsn(100),
                spooled: None,
            });
            assert!(refused.is_err());
        }
    }
}
