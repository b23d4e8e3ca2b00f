//! Where tests stop a movement: before and after each of its actions.

use router::Side;
use router::cutover::Action;
use router::failpoint::Point;

/// The places before and after an action.
pub(super) fn around<M, C>(action: &Action<M, C>, to: Side) -> [Option<Point>; 2] {
    let of = |cutover, rollback| {
        Some(match to {
            Side::Target => cutover,
            Side::Source => rollback,
        })
    };
    match action {
        Action::Begin => [
            of(Point::CutoverBegins, Point::RollbackBegins),
            of(Point::CutoverBegun, Point::RollbackBegun),
        ],
        Action::Drain => [None, of(Point::CutoverDrained, Point::RollbackDrained)],
        Action::RaiseFence => [
            of(Point::CutoverFences, Point::RollbackFences),
            of(Point::CutoverFenced, Point::RollbackFenced),
        ],
        Action::WriteMarker => [
            of(Point::CutoverMarks, Point::RollbackMarks),
            of(Point::CutoverMarked, Point::RollbackMarked),
        ],
        Action::AwaitMarker(_) => [None, of(Point::CutoverCaughtUp, Point::RollbackCaughtUp)],
        Action::Promote(_) => [
            of(Point::CutoverPromotes, Point::RollbackPromotes),
            of(Point::CutoverPromoted, Point::RollbackPromoted),
        ],
        // The side that is gone to is fenced only if it was left before: at its first cutover the
        // target is not.
        Action::LowerFence(Side::Source) if to == Side::Source => {
            [Some(Point::RollbackOpens), Some(Point::RollbackOpened)]
        }
        Action::LowerFence(_)
        | Action::Hold
        | Action::EndRunning
        | Action::ReadCounters
        | Action::Resolve
        | Action::SwitchAndRelease
        | Action::Release => [None, None],
    }
}

/// The place where the points are moved and everybody may go on.
pub(super) fn switched(to: Side) -> Point {
    match to {
        Side::Target => Point::CutoverSwitched,
        Side::Source => Point::RollbackSwitched,
    }
}
