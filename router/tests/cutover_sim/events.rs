//! What the machine is told of a request.

use router::cutover::Event;

use crate::world::{Answer, Request};

/// What the machine is told when the connection breaks before the answer.
pub(crate) fn lost(request: Request) -> Event<u64, usize> {
    match request {
        Request::Begin(..) => Event::BeginUnknown,
        Request::Raise(..) => Event::FenceFailed,
        Request::Marker(_) => Event::MarkerFailed,
        Request::Counters(_) => Event::CountersFailed,
        Request::Await(..) => Event::CatchUpFailed,
        Request::PromoteCounters(..) | Request::PromoteJournal(..) => Event::PromoteUnknown,
        Request::Resolve(_) => Event::ResolveFailed,
        Request::Lower(..) => Event::LowerFailed,
    }
}

pub(crate) fn event_of(request: Request, answer: Answer) -> Event<u64, usize> {
    match (request, answer) {
        (_, Answer::Resolved(resolution)) => Event::Resolved(resolution),
        (_, Answer::Marker(marker)) => Event::Marked(marker),
        (_, Answer::Counters(counters)) => Event::Counters(counters),
        (Request::Begin(..), Answer::Done) => Event::Begun,
        (Request::Begin(..), Answer::Refused) => Event::BeginRefused,
        (Request::Raise(..), Answer::Done) => Event::Fenced,
        (Request::Await(..), Answer::Done) => Event::CaughtUp,
        (Request::PromoteJournal(..), Answer::Done) => Event::Promoted,
        (Request::PromoteJournal(..), Answer::Refused) => Event::PromoteRefused,
        (Request::Lower(..), Answer::Done) => Event::Lowered,
        (request, _) => lost(request),
    }
}
