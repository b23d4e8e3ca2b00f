//! How the spool has what waits: a byte that tells what it is, the position, and the events.

use bytes::{BufMut, Bytes};

use super::super::assembler::Output;
use super::super::transaction::{Kept, Transaction};
use crate::wire::{FieldError, Fields};

/// A record that was read back.
#[derive(Debug)]
pub(super) enum Stored {
    Whole(Output),
    /// Stands for a transaction with a file of its own.
    File,
}

const IDLE: u8 = 0;
const TRANSACTION: u8 = 1;
const FILE: u8 = 2;

/// No commit time.
const NO_TIME: u64 = u64::MAX;

/// What is written.
pub(super) fn encode(output: &Output) -> Vec<u8> {
    let mut out = Vec::with_capacity(output.memory_bytes());
    match output {
        Output::Idle(position) => {
            out.put_u8(IDLE);
            put_text(&mut out, &position.to_string());
        }
        Output::Transaction(transaction) => match transaction.in_memory() {
            None => out.put_u8(FILE),
            Some(events) => {
                out.put_u8(TRANSACTION);
                put_text(&mut out, &transaction.position.to_string());
                out.put_u64_le(transaction.commit_time_us.unwrap_or(NO_TIME));
                out.put_u8(transaction.short_table_ids.into());
                for event in events {
                    out.put_u8(event.code);
                    out.put_u32_le(event.timestamp);
                    put_bytes(&mut out, &event.body);
                }
            }
        },
    }
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Events have less than 4 GiB, as their own headers tell.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// What was written; `None` if it was not by [`encode`].
pub(super) fn decode(payload: Vec<u8>) -> Option<Stored> {
    read(&Bytes::from(payload)).ok()
}

fn read(payload: &Bytes) -> Result<Stored, FieldError> {
    let mut fields = Fields::new(payload);
    let kind = fields.u8()?;
    if kind == FILE {
        return Ok(Stored::File);
    }
    let text = std::str::from_utf8(read_bytes(&mut fields)?);
    let position = text.ok().and_then(|text| text.parse().ok());
    let position = position.ok_or(FieldError("it has no position"))?;
    if kind == IDLE {
        return Ok(Stored::Whole(Output::Idle(position)));
    }
    let time = fields.u64()?;
    let short_table_ids = fields.u8()? != 0;
    let mut events = Vec::new();
    while !fields.is_empty() {
        events.push(Kept {
            code: fields.u8()?,
            timestamp: fields.u32()?,
            body: payload.slice_ref(read_bytes(&mut fields)?),
        });
    }
    let time = (time != NO_TIME).then_some(time);
    let transaction = Transaction::new(position, time, short_table_ids, events);
    Ok(Stored::Whole(Output::Transaction(Box::new(transaction))))
}

fn read_bytes<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], FieldError> {
    let length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    fields.bytes(length)
}
