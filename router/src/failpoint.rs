//! The places where a test can stop the program or have it wait: before and after every step whose
//! loss in a crash could matter.
//!
//! They are named here and nowhere else, each with what leads to it, so that the crash tests can go
//! through all of them; a step of a movement or of the copy cannot be added without one, since the
//! names are chosen by a `match` on the steps. In programs built for production nothing of this is
//! left: [`reach`] returns at once.

use std::pin::Pin;
use std::sync::OnceLock;

/// What happens when a point is reached.
pub type Hook = Box<dyn Fn(Point) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// What the program does when it comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was told to start: schema and rows go over.
    Start,
    /// It applies changes.
    Stream,
    /// It moves the points to the target.
    Cutover,
    /// It moves them back.
    Rollback,
    /// It removes its traces after the switch.
    Finish,
    /// It removes its traces, and what it made on the target, before the switch.
    Abort,
}

/// Which engines come to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// All.
    All,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

macro_rules! points {
    ($($name:literal $point:ident $phase:ident $of:ident;)*) => {
        /// A place where a test can stop the program.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each says it all by its name")]
        pub enum Point { $($point),* }

        impl Point {
            /// All points, in the order in which a migration comes to them.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// Its name: what tests call it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$point => $name),* }
            }

            /// What the program does when it comes there.
            #[must_use]
            pub fn phase(self) -> Phase {
                match self { $(Self::$point => Phase::$phase),* }
            }

            /// Which engines come there.
            #[must_use]
            pub fn of(self) -> Of {
                match self { $(Self::$point => Of::$of),* }
            }
        }
    };
}

// `made`: the work is done, and it is not written down. `recorded`: it is.
points! {
    "target-prepared" TargetPrepared Start All;
    "source-prepared" SourcePrepared Start All;
    "slot-made" SlotMade Start Postgres;
    "position-recorded" PositionRecorded Start All;
    "roles-made" RolesMade Start All;
    "roles-recorded" RolesRecorded Start Postgres;
    "structure-made" StructureMade Start All;
    "structure-recorded" StructureRecorded Start All;
    "table-loaded" TableLoaded Start All;
    "table-copied" TableCopied Start All;
    "rows-made" RowsMade Start All;
    "rows-recorded" RowsRecorded Start All;
    "indexes-made" IndexesMade Start All;
    "indexes-recorded" IndexesRecorded Start All;
    "foreign-keys-made" ForeignKeysMade Start MySql;
    "foreign-keys-recorded" ForeignKeysRecorded Start MySql;
    "triggers-made" TriggersMade Start MySql;
    "triggers-recorded" TriggersRecorded Start MySql;
    "statistics-made" StatisticsMade Start All;
    "statistics-recorded" StatisticsRecorded Start All;
    "views-made" ViewsMade Start Postgres;
    "views-recorded" ViewsRecorded Start Postgres;
    "sequences-made" SequencesMade Start Postgres;
    "sequences-recorded" SequencesRecorded Start Postgres;
    "grants-made" GrantsMade Start MySql;
    "grants-recorded" GrantsRecorded Start MySql;
    "copy-recorded" CopyRecorded Start All;

    "window-applied" WindowApplied Stream All;
    "window-committed" WindowCommitted Stream All;

    "cutover-begins" CutoverBegins Cutover All;
    "cutover-begun" CutoverBegun Cutover All;
    "cutover-drained" CutoverDrained Cutover All;
    "cutover-fences" CutoverFences Cutover All;
    "cutover-fenced" CutoverFenced Cutover All;
    "cutover-marks" CutoverMarks Cutover All;
    "cutover-marked" CutoverMarked Cutover All;
    "cutover-caught-up" CutoverCaughtUp Cutover All;
    "cutover-promotes" CutoverPromotes Cutover All;
    "cutover-promoted" CutoverPromoted Cutover All;
    "cutover-switched" CutoverSwitched Cutover All;

    "rollback-begins" RollbackBegins Rollback All;
    "rollback-begun" RollbackBegun Rollback All;
    "rollback-drained" RollbackDrained Rollback All;
    "rollback-fences" RollbackFences Rollback All;
    "rollback-fenced" RollbackFenced Rollback All;
    "rollback-marks" RollbackMarks Rollback All;
    "rollback-marked" RollbackMarked Rollback All;
    "rollback-caught-up" RollbackCaughtUp Rollback All;
    "rollback-promotes" RollbackPromotes Rollback All;
    "rollback-promoted" RollbackPromoted Rollback All;
    "rollback-opens" RollbackOpens Rollback All;
    "rollback-opened" RollbackOpened Rollback All;
    "rollback-switched" RollbackSwitched Rollback All;

    "finish-begins" FinishBegins Finish All;
    "finish-source-clean" FinishSourceClean Finish All;
    "finish-target-clean" FinishTargetClean Finish All;

    "abort-begins" AbortBegins Abort All;
    "abort-source-clean" AbortSourceClean Abort All;
    "abort-target-clean" AbortTargetClean Abort All;
}

/// Says what happens at points, once in a process; nothing in programs built for production.
pub fn set_hook(hook: Hook) {
    if cfg!(debug_assertions) {
        let _set_before = HOOK.set(hook);
    }
}

/// The program comes to a point.
///
/// # Cancel safety
/// A test may have it wait here for long: who gives it up meanwhile does so as if the step before or
/// after took so long.
#[inline]
pub async fn reach(point: Point) {
    if cfg!(debug_assertions)
        && let Some(hook) = HOOK.get()
    {
        hook(point).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: HashSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(is_plain), "they are names of files, too");
    }
}
