//! Whether an event follows the one before it: in a file each begins where the last one ended.
//!
//! A server may leave events out, and then only in places that are known: what a reader by GTID has
//! already. Anything else that is missing is data that is lost, and is noticed here even where the
//! events that are left would make sense without it.
//!
//! Events tell where they end by 32 bits, which a large file exceeds; all places here are counted so.
//! MariaDB's may tell no place inside of a transaction (`binlog_legacy_event_pos=OFF`); they are
//! counted by their length, and the transaction's end tells whether one was missing.

use std::collections::BTreeSet;

use super::error::StopReason;
use super::format::{Checksum, Event};
use super::kind::Kind;

/// What a server leaves out by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Skips {
    /// Nothing: it was asked by a place.
    Nothing,
    /// Transactions that we have; a heartbeat tells where what it left out ends.
    Told,
    /// Transactions that we have, of these domains: in each, everything before the first one that
    /// is sent. Nobody tells which are still to come.
    Domains(BTreeSet<u32>),
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// Where a transaction may begin.
    Between,
    /// Behind the name of a transaction that is one statement.
    Alone,
    /// In a transaction of several events.
    Inside,
}

/// Bytes of a checksum, which MariaDB takes from events for readers without.
const CHECKSUM_BYTES: u32 = 4;

/// MariaDB's second event of a file that is encrypted. It may be sent, with a place or without, also
/// to a reader that begins behind it.
const START_ENCRYPTION: u8 = 164;

/// MariaDB's event behind that.
const GTID_LIST: u8 = 163;

/// More than `START_ENCRYPTION` has, and less than any transaction.
const ENCRYPTION_BYTES_MAX: u32 = 64;

/// Follows the places of events.
#[derive(Debug)]
pub(super) struct Contiguity {
    skips: Skips,
    /// Where the next event begins, unless nobody knows.
    next: Option<u32>,
    /// Events since the last one that told its place.
    unplaced: u32,
    /// Nothing but the file's description was read of it.
    at_head: bool,
}

impl Contiguity {
    /// Before the first event.
    pub(super) fn new(skips: Skips) -> Self {
        Self {
            skips,
            next: None,
            unplaced: 0,
            at_head: false,
        }
    }

    /// A file is sent from here on.
    pub(super) fn file(&mut self, offset: u64) {
        self.next = low(offset);
        self.unplaced = 0;
        self.at_head = false;
    }

    /// The file's description. One that is sent again for a reader that begins behind it has no
    /// place there.
    pub(super) fn format(&mut self, event: &Event) {
        const FIRST: u32 = 4;
        if self.next == Some(FIRST) {
            self.next = Some(FIRST.wrapping_add(event.event_bytes));
            self.at_head = true;
        }
    }

    /// A server between transactions has sent or left out everything before this place.
    pub(super) fn told(&mut self, end: u32) {
        if self.skips == Skips::Told && end != 0 {
            self.next = Some(end);
            self.unplaced = 0;
            self.at_head = false;
        }
    }

    /// A transaction of this domain was sent.
    pub(super) fn sent(&mut self, domain: u32) {
        if let Skips::Domains(behind) = &mut self.skips {
            behind.remove(&domain);
        }
    }

    /// The next event of the file.
    ///
    /// # Errors
    /// When it does not begin where the one before it ended.
    pub(super) fn follow(
        &mut self,
        event: &Event,
        stands: Stands,
        checksum: Checksum,
    ) -> Result<(), StopReason> {
        let at_head = std::mem::replace(&mut self.at_head, false);
        if event.code == START_ENCRYPTION {
            if at_head {
                self.next = self.next.map(|next| next.wrapping_add(event.event_bytes));
            }
            return Ok(());
        }
        let may_skip = match &self.skips {
            Skips::Nothing | Skips::Told => false,
            Skips::Domains(behind) => {
                let stands_between =
                    matches!(event.kind, Kind::MariaGtid | Kind::Rotate | Kind::Ignorable);
                stands == Stands::Between && stands_between && !behind.is_empty()
            }
        };
        let wraps = |next: u32| next.wrapping_add(event.event_bytes) == 0;
        if event.end == 0 && !self.next.is_some_and(wraps) {
            if stands != Stands::Inside {
                let lost = "an event has no place that belongs into a transaction, and is in none";
                return Err(StopReason::OutOfOrder(lost));
            }
            self.next = self.next.map(|next| next.wrapping_add(event.event_bytes));
            self.unplaced += 1;
            return Ok(());
        }
        let begins = event.end.wrapping_sub(event.event_bytes);
        let unplaced = std::mem::take(&mut self.unplaced);
        let Some(expected) = self.next.replace(event.end) else {
            return Ok(());
        };
        let hole = begins.wrapping_sub(expected);
        let without_checksums = CHECKSUM_BYTES.wrapping_mul(unplaced + 1);
        let encryption = at_head && event.code == GTID_LIST && hole <= ENCRYPTION_BYTES_MAX;
        let stripped = checksum == Checksum::None && hole == without_checksums;
        if hole == 0 || may_skip || encryption || stripped {
            return Ok(());
        }
        Err(StopReason::Hole {
            expected,
            found: begins,
        })
    }
}

/// A place in 32 bits, as events tell it.
fn low(place: u64) -> Option<u32> {
    u32::try_from(place & u64::from(u32::MAX)).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const HOLE: Result<(), ()> = Err(());

    /// An event of so many bytes that ends here; 0 if it does not tell.
    fn event(kind: Kind, bytes: u32, end: u32) -> Event {
        Event {
            kind,
            code: 0,
            timestamp: 0,
            server_id: 1,
            event_bytes: bytes,
            end,
            artificial: false,
            body: Bytes::new(),
        }
    }

    struct Read(Contiguity);

    impl Read {
        fn from(skips: Skips, offset: u64) -> Self {
            let mut contiguity = Contiguity::new(skips);
            contiguity.file(offset);
            Self(contiguity)
        }

        fn of(&mut self, stands: Stands, kind: Kind, bytes: u32, end: u32) -> Result<(), ()> {
            let followed = self
                .0
                .follow(&event(kind, bytes, end), stands, Checksum::Crc32);
            followed.map_err(|_hole| ())
        }

        fn inside(&mut self, bytes: u32, end: u32) -> Result<(), ()> {
            self.of(Stands::Inside, Kind::Xid, bytes, end)
        }

        fn between(&mut self, kind: Kind, bytes: u32, end: u32) -> Result<(), ()> {
            self.of(Stands::Between, kind, bytes, end)
        }
    }

    #[test]
    fn each_event_begins_where_the_last_one_ended() {
        let mut read = Read::from(Skips::Nothing, 500);
        assert_eq!(read.inside(50, 550), Ok(()));
        assert_eq!(read.inside(50, 600), Ok(()));
        assert_eq!(read.inside(50, 670), HOLE);
        let mut read = Read::from(Skips::Nothing, 500);
        assert_eq!(read.inside(50, 530), HOLE, "it was read already");
        let mut read = Read::from(Skips::Nothing, 500);
        assert_eq!(read.between(Kind::MariaGtid, 50, 570), HOLE);
    }

    #[test]
    fn places_beyond_4_gib_are_compared_by_their_lower_bits() {
        let mut read = Read::from(Skips::Nothing, 0x3_ffff_fff0);
        assert_eq!(read.inside(0x20, 0x10), Ok(()));
        assert_eq!(read.inside(0x20, 0x30), Ok(()));
        assert_eq!(read.inside(0x20, 0x60), HOLE);
        // One that ends there tells 0.
        let mut read = Read::from(Skips::Nothing, 0xffff_fff0);
        assert_eq!(read.between(Kind::Gtid, 0x10, 0), Ok(()));
        assert_eq!(read.inside(0x10, 0x10), Ok(()));
    }

    #[test]
    fn events_without_a_place_are_missed_at_the_next_that_has_one() {
        for (lost, expected) in [(0, Ok(())), (40, HOLE)] {
            let mut read = Read::from(Skips::Nothing, 100);
            for _event in 0..10 {
                assert_eq!(read.inside(30, 0), Ok(()));
            }
            assert_eq!(read.inside(31, 431 + lost), expected);
            // Its GTID is missing, or more.
            assert_eq!(read.between(Kind::Query, 30, 0), HOLE);
            assert_eq!(read.of(Stands::Alone, Kind::Query, 30, 0), HOLE);
        }
    }

    #[test]
    fn checksums_that_a_server_takes_away_are_no_hole() {
        let mut contiguity = Contiguity::new(Skips::Nothing);
        contiguity.file(100);
        let mut follow = |end| {
            let event = event(Kind::Xid, 30, end);
            contiguity.follow(&event, Stands::Inside, Checksum::None)
        };
        assert_eq!(follow(134), Ok(()));
        assert_eq!(follow(164), Ok(()));
        assert_eq!(follow(0), Ok(()));
        assert_eq!(follow(0), Ok(()));
        assert_eq!(follow(164 + 3 * 34), Ok(()));
        assert!(follow(164 + 3 * 34 + 64).is_err());
    }

    #[test]
    fn what_a_server_leaves_out_is_told_or_of_a_domain_that_is_behind() {
        let mut read = Read::from(Skips::Told, 4);
        read.0.told(900);
        assert_eq!(read.between(Kind::Gtid, 50, 950), Ok(()));
        assert_eq!(read.inside(50, 1000), Ok(()));
        assert_eq!(read.between(Kind::Gtid, 50, 1100), HOLE);

        let mut read = Read::from(Skips::Domains([0, 1].into()), 4);
        assert_eq!(read.between(Kind::MariaGtid, 50, 500), Ok(()));
        assert_eq!(read.inside(50, 600), HOLE);
        let mut read = Read::from(Skips::Domains([0, 1].into()), 4);
        read.0.sent(0);
        assert_eq!(read.between(Kind::MariaGtid, 50, 500), Ok(()));
        assert_eq!(read.between(Kind::Ignorable, 50, 600), Ok(()));
        // A definition without its GTID.
        assert_eq!(read.between(Kind::Query, 50, 700), HOLE);
        read.0.sent(1);
        assert_eq!(read.between(Kind::MariaGtid, 50, 900), HOLE);
    }

    #[test]
    fn a_file_s_head_may_have_the_beginning_of_its_encryption() {
        let head = |code: u8, skipped: u32| {
            let mut read = Read::from(Skips::Nothing, 4);
            read.0.format(&event(Kind::Format, 100, 104));
            let mut second = event(Kind::Ignorable, 30, 134 + skipped);
            second.code = code;
            let followed = read.0.follow(&second, Stands::Between, Checksum::Crc32);
            (
                followed.is_ok(),
                read.between(Kind::Ignorable, 30, 164 + 2 * skipped),
            )
        };
        assert_eq!(head(GTID_LIST, 0), (true, Ok(())));
        assert_eq!(head(GTID_LIST, 40), (true, HOLE), "only there");
        assert!(!head(161, 40).0 && !head(GTID_LIST, 200).0);
        // Where it is sent: at the head, and again to who begins behind it.
        let mut encryption = event(Kind::Ignorable, 40, 0);
        encryption.code = START_ENCRYPTION;
        for (begins, ends) in [(4, 144), (700, 700)] {
            let mut read = Read::from(Skips::Nothing, begins);
            read.0.format(&event(Kind::Format, 100, 0));
            let followed = read.0.follow(&encryption, Stands::Between, Checksum::Crc32);
            assert!(followed.is_ok());
            assert_eq!(read.between(Kind::Ignorable, 30, ends + 30), Ok(()));
            assert_eq!(read.between(Kind::Ignorable, 30, ends + 100), HOLE);
        }
        // A description that is sent again has no place.
        let mut read = Read::from(Skips::Nothing, 700);
        read.0.format(&event(Kind::Format, 100, 0));
        assert_eq!(read.inside(50, 750), Ok(()));
    }
}
