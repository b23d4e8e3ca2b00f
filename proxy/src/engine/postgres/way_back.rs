//! The stream from the target back to the source while the target serves, and what a movement
//! prepares for it.

use pgwal::apply::Applier;
use pgwal::movement::journal;
use pgwal::movement::way_back::{self, Ends, WayBackError};
use pgwal::schema::bookkeeping::stream_name;
use pgwal::schema::setup::migration_id;
use pgwal::stream::{Stream, StreamOptions};
use router::{Epoch, Lsn, Side, words};

use super::{Postgres, copy, flow};
use crate::engine::interruption::{Interruption, NO_WAY_BACK};
use crate::engine::{Engine as _, NoWayBack};
use crate::status::Failure;

/// The epoch and the position that the stream from `serving` begins with, if a movement led there.
pub(super) async fn begun_anew(
    engine: &Postgres,
    serving: Side,
) -> Result<Option<(Epoch, Lsn)>, Interruption> {
    let failed = |why: String| Interruption::MayPass(format!("the journal cannot be read: {why}"));
    let target = engine
        .connect(Side::Target, "pointsman control")
        .await
        .map_err(failed)?;
    let last = journal::last_switched(&target)
        .await
        .map_err(|error| failed(words(&error)))?;
    Ok(last
        .filter(|movement| movement.serving == serving)
        .and_then(|movement| Some((movement.epoch, movement.position?))))
}

/// See [`crate::engine::Engine::way_back`].
pub(super) async fn open(engine: &Postgres) -> Result<(Applier, Stream), Interruption> {
    let id = id(engine).await.map_err(Interruption::MayPass)?;
    let name = stream_name(&id, Side::Target);
    let Some((epoch, position)) = begun_anew(engine, Side::Target).await? else {
        return Err(closed(
            "the journal does not say where the target began to serve",
        ));
    };
    let mut options = engine.apply_options(&name, position);
    options.epoch = epoch;
    options.ignored_origin = Some(stream_name(&id, Side::Source));
    let spool = &engine.config.spool;
    let applier = match Applier::open(&engine.source, options, Default::default()).await {
        Ok(applier) => applier,
        Err(error) if error.is_transient() => {
            // The new server's disk must not fill because the old one is gone.
            close_if_too_much_is_kept(engine, &id, &name, spool.limit.0).await?;
            return Err(flow::of_apply(&error).on_the_way_back());
        }
        Err(error) => return Err(flow::of_apply(&error).on_the_way_back()),
    };
    std::fs::create_dir_all(&spool.dir).map_err(|error| {
        Interruption::MayPass(format!(
            "cannot make the folder {}: {error}",
            spool.dir.display()
        ))
    })?;
    let options = StreamOptions {
        spool_limit_bytes: spool.limit.0,
        ..StreamOptions::new(&name, &name, applier.position(), spool.dir.join(&name))
    };
    let target = engine.target_of_migration()?;
    let opened = Stream::open(target, options).await;
    let stream = opened.map_err(|error| {
        let what = "the stream cannot be opened";
        Interruption::of(error.is_transient(), what, &error, NO_WAY_BACK).on_the_way_back()
    })?;
    Ok((applier, stream))
}

/// Drops the target's slot when it keeps more log than the spool may take, for a source that cannot
/// be reached.
async fn close_if_too_much_is_kept(
    engine: &Postgres,
    id: &str,
    slot: &str,
    bytes_max: u64,
) -> Result<(), Interruption> {
    let target = engine.target_of_migration()?;
    let kept = way_back::kept_bytes(target, slot).await;
    let kept = kept.map_err(|error| Interruption::MayPass(words(&error)))?;
    if kept <= bytes_max {
        return Ok(());
    }
    let forgotten = way_back::forget(target, Side::Target, id).await;
    forgotten.map_err(|error| Interruption::MayPass(words(&error)))?;
    Err(closed(&format!(
        "the source could not be reached for so long that the target kept {kept} bytes of log for \
         it, more than `spool.limit`"
    )))
}

/// See [`crate::engine::Engine::prepare_way_back`].
pub(super) async fn prepare(engine: &Postgres, to: Side) -> Result<(), NoWayBack> {
    let id = id(engine).await.map_err(NoWayBack::NotNow)?;
    let filter = copy::filter(&engine.config);
    let ends = ends(engine, &id, &filter, to).map_err(NoWayBack::Never)?;
    let prepared = way_back::prepare(ends).await;
    prepared.map_err(|error| match error.may_pass() {
        true => NoWayBack::NotNow(words(&error)),
        false => NoWayBack::Never(words(&error)),
    })
}

/// See [`crate::engine::Engine::look_for_way_back`].
pub(super) async fn look(engine: &Postgres, to: Side) -> Result<(), String> {
    let id = id(engine).await?;
    let filter = copy::filter(&engine.config);
    let looked = way_back::look(ends(engine, &id, &filter, to)?).await;
    looked.map_err(|error| words(&error))
}

/// See [`crate::engine::Engine::forget_way_back`].
pub(super) async fn forget(engine: &Postgres, side: Side) -> Result<(), String> {
    let id = id(engine).await?;
    let forgotten = way_back::forget(engine.endpoint(side)?, side, &id).await;
    forgotten
        .map(drop)
        .map_err(|error: WayBackError| words(&error))
}

fn ends<'a>(
    engine: &'a Postgres,
    id: &'a str,
    filter: &'a pgwal::schema::catalog::TableFilter,
    to: Side,
) -> Result<Ends<'a>, String> {
    Ok(Ends {
        id,
        to,
        arrival: engine.endpoint(to)?,
        departure: engine.endpoint(to.other())?,
        filter,
    })
}

/// The migration's id, which stands on both servers.
async fn id(engine: &Postgres) -> Result<String, String> {
    let target = engine.connect(Side::Target, "pointsman control").await?;
    let id = migration_id(&target, Side::Target).await;
    id.map_err(|error| words(&error))?
        .ok_or_else(|| "there is no migration on the target".to_owned())
}

fn closed(why: &str) -> Interruption {
    Interruption::Definite(Failure {
        what: "there is no way back".to_owned(),
        detail: why.to_owned(),
        hint: NO_WAY_BACK.to_owned(),
    })
}
