//! What the client was told of its prepared statements: asked of the server that told it.

use bytes::Bytes;

use super::super::columns::Described;
use super::super::fatal::Fatal;
use super::super::state::Unmovable;
use super::Session;

impl Session {
    /// Asks for the columns of those prepared statements of which they are not known.
    pub(super) async fn describe_statements(&mut self) -> Result<(), Fatal> {
        let replay = &mut self.reading.replay;
        let unknown = replay.prepared_mut().filter(|one| one.columns.is_none());
        let unknown: Vec<_> = unknown.collect();
        if unknown.is_empty() || !self.reading.unmovable.is_empty() {
            return Ok(());
        }
        let names: Vec<Bytes> = unknown.iter().map(|one| one.name.clone()).collect();
        let mut answers = Vec::with_capacity(names.len());
        for name in &names {
            let answer = self.pump.describe(&self.relay, name).await?;
            if let Err(error) = &answer
                && !is_about_the_statement(&error.sqlstate)
            {
                // Such as a lock that it waited for in vain.
                let reason = Unmovable::Unreadable(error.sqlstate.clone());
                self.reading.unmovable.push(reason);
                return Ok(());
            }
            answers.push(answer);
        }
        let types = answers.iter().flatten().flat_map(Described::named_types);
        let (relay, side) = (&self.relay, self.pump.side());
        let types = match relay.type_names.of(relay, side, types.collect()).await {
            Ok(types) => types,
            Err(error) => {
                tracing::warn!(%error, "the types of a session's statements are not known");
                let reason = Unmovable::Unreadable("types".to_owned());
                self.reading.unmovable.push(reason);
                return Ok(());
            }
        };
        for (statement, answer) in unknown.into_iter().zip(answers) {
            // One that its own server refuses gives nothing that the other one could give.
            statement.columns = answer.ok().and_then(|described| described.columns(&types));
            if let Some(columns) = statement.columns {
                self.pump.statements.note_columns(&statement.name, columns);
            }
        }
        Ok(())
    }
}

/// Whether an error says of the statement itself that it gives nothing any more: its columns would
/// be others, or what it names is gone or forbidden.
fn is_about_the_statement(sqlstate: &str) -> bool {
    sqlstate == "0A000" || sqlstate.starts_with("42")
}
