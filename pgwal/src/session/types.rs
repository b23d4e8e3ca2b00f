//! The numbers of types as a client knows them.
//!
//! Every server numbers the types of its databases by itself: enums, composites, domains, ranges,
//! those of extensions, and the arrays of all these. A driver learns such a number once and keeps
//! it for its connection. So a session that was at home on one server and goes on with another one is told
//! the numbers that it knows, and what it says by them is translated for its server.
//!
//! - [`numbers`]: which numbers a client knows, and what to call a type that it does not know.
//! - [`catalog`]: the types of both servers, paired by name.
//! - [`values`] and [`messages`]: where numbers stand, and how they are replaced in place: no length
//!   ever changes.
//! - [`watch`]: how numbers are learnt from what a server answers.
//! - [`prior`]: what a twin has to know of all this.
//! - [`exchange`]: which rows and parameters have which types, for a session that needs it.
//!
//! A session that never met such a type pays for a look at each row description, nothing more.
//!
//! Not translated: what stands in texts of SQL, values of the types `oid` and `regtype` (nothing tells a
//! number of a type there from any other), the binary format of `COPY`, and function calls of the
//! protocol.

pub(super) mod catalog;
pub(super) mod exchange;
mod messages;
pub(super) mod numbers;
pub(super) mod prior;
mod values;
mod watch;

use self::exchange::{Exchange, Need};
use self::numbers::Numbers;
use self::watch::Watch;
use super::fatal::Fatal;
use super::limits::{
    DESCRIPTION_BYTES_MAX, TRANSLATED_BYTES_MAX, WATCHED_ROW_BYTES_MAX, WHOLE_BYTES_MAX,
};
use crate::wire::frame::Header;
use router::Side;

/// As much of a message as the names at its beginning take.
const NAMES_BYTES: usize = 4096;

/// What a session knows of types, and what it takes to have it go on knowing it.
#[derive(Debug, Default)]
pub(super) struct Types {
    pub(super) numbers: Numbers,
    watch: Watch,
    /// Only while the server numbers types otherwise than the client knows them.
    exchange: Option<Box<Exchange>>,
}

impl Types {
    /// From now on another server answers.
    pub(super) fn change_server(&mut self, exchange: Option<(Box<Exchange>, Numbers)>) {
        self.watch = Watch::default();
        self.exchange = exchange.map(|(exchange, numbers)| {
            self.numbers = numbers;
            exchange
        });
    }

    /// Whether more of a client's message must be there before it may pass.
    pub(super) fn awaits_more_up(&self, header: Header, there: &[u8]) -> Result<bool, Fatal> {
        let length = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
        if there.len() >= length {
            return Ok(false);
        }
        match &self.exchange {
            None => Ok(header.tag == b'P' && header.body_bytes <= WHOLE_BYTES_MAX),
            Some(exchange) => match exchange.need(header.tag, there) {
                Need::Nothing => Ok(false),
                // Its first bytes may say that it is not needed as a whole.
                Need::Whole | Need::WholeIfShort if there.len() < NAMES_BYTES => Ok(true),
                Need::WholeIfShort => Ok(header.body_bytes <= TRANSLATED_BYTES_MAX),
                Need::Whole => within_limit(header).map(|()| true),
            },
        }
    }

    /// Notes a message that passes to the server, and translates it. `body` begins with its body, as
    /// far as it is there.
    pub(super) fn up(&mut self, header: Header, body: &mut [u8], side: Side) {
        let length = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
        let is_there = length.min(body.len());
        let body = body.get_mut(..is_there).unwrap_or_default();
        match &mut self.exchange {
            Some(exchange) => exchange.client(header.tag, body, &mut self.numbers),
            None if header.tag == b'P' && is_there == length => {
                messages::each_parse_type(body, |number| self.numbers.note(number, side));
            }
            None => {}
        }
    }

    /// Notes a message that passes to the client, and translates it; `false` when more of it is
    /// needed first.
    #[inline]
    pub(super) fn down(
        &mut self,
        header: Header,
        body: &mut [u8],
        side: Side,
    ) -> Result<bool, Fatal> {
        match header.tag {
            b'T' | b't' => {}
            b'D' if self.watch.is_on() || self.exchange.is_some() => {}
            b'D' => return Ok(true),
            tag => {
                if tag == b'C' {
                    self.watch.end();
                }
                if let Some(exchange) = &mut self.exchange {
                    exchange.server(tag);
                }
                return Ok(true);
            }
        }
        self.read_down(header, body, side)
    }

    fn read_down(&mut self, header: Header, body: &mut [u8], side: Side) -> Result<bool, Fatal> {
        let length = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
        let is_row = header.tag == b'D';
        let is_translated = match &mut self.exchange {
            Some(exchange) => !is_row || exchange.row_is_translated(),
            None => false,
        };
        let noted_max = if is_row {
            WATCHED_ROW_BYTES_MAX
        } else {
            DESCRIPTION_BYTES_MAX
        };
        let is_noted = (!is_row || self.watch.is_on()) && length <= noted_max;
        if !is_translated && !is_noted {
            return Ok(true);
        }
        let Some(body) = body.get_mut(..length) else {
            return if is_translated {
                within_limit(header)
            } else {
                Ok(())
            }
            .map(|()| false);
        };
        if is_row && is_noted {
            let numbers = &mut self.numbers;
            match &self.exchange {
                Some(exchange) => {
                    (self.watch).row(body, |number| exchange.note_read(number, numbers));
                }
                None => self.watch.row(body, |number| numbers.note(number, side)),
            }
        }
        match (&mut self.exchange, header.tag) {
            (Some(exchange), tag) => {
                if tag == b'T' {
                    self.watch.description(body, |_number| {});
                }
                exchange.answer(tag, body, &mut self.numbers);
            }
            (None, b'T') => self
                .watch
                .description(body, |number| self.numbers.note(number, side)),
            (None, b't') => {
                messages::each_parameter(body, |number| self.numbers.note(number, side));
            }
            (None, _row) => {}
        }
        Ok(true)
    }

    /// Nothing is left to be answered; the session may be in a transaction.
    pub(super) fn answered(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.answered();
        }
    }

    /// The server is idle, outside of any transaction.
    pub(super) fn settle(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.settle();
        }
    }
}

/// What is translated is kept as a whole.
fn within_limit(header: Header) -> Result<(), Fatal> {
    if header.body_bytes <= TRANSLATED_BYTES_MAX {
        return Ok(());
    }
    Err(Fatal::new(
        "57P01",
        "terminating connection: a message with values of types that the servers number \
         differently is too long to be translated; connect again",
    ))
}
