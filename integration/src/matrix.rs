//! The crash matrix: every place where the program can be stopped, times everything that can die
//! there. After each, and without a human, exactly one side serves, with everything that was ever
//! acknowledged, and the migration can be led to its end.
//!
//! It is generated from [`Point::ALL`]: a step that gets a point is tried. All of it takes long; the
//! usual run takes a part, another one each day (`POINTSMAN_MATRIX_ROUND` chooses one). Words in
//! `POINTSMAN_MATRIX_ONLY` choose from the whole: `proxy dies at slot-made`.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use router::Side;
use router::failpoint::{Of, Phase, Point};
use serde_json::Value;

use crate::load::{Load, Report};
use crate::proxy::Proxy;

/// The variable that names the folder of the points to the program.
pub const VARIABLE: &str = "POINTSMAN_FAILPOINTS";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it is looked.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// What `start` says of what an earlier one left on the target.
const ABORT_FIRST: &str = "fix: run `pointsman abort`";

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The proxy.
    Proxy,
    /// The source; it is started again.
    Source,
    /// The target; it is started again.
    Target,
}

/// What dies where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Where.
    pub point: Point,
    /// What.
    pub fault: Fault,
}

/// Two servers with a proxy in front of them.
pub trait Subject {
    /// The proxy.
    fn proxy(&mut self) -> &mut Proxy;

    /// Writes through the proxy until told to stop.
    fn load(&self) -> impl Future<Output = Load>;

    /// Kills a server and starts it again.
    fn crash(&mut self, side: Side) -> impl Future<Output = Result<()>>;

    /// Nothing that was acknowledged is lost, nothing is there twice. Of what does not change, both
    /// sides have the same if they are to have it.
    fn confirm(
        &self,
        report: &Report,
        serving: Side,
        are_both_filled: bool,
    ) -> impl Future<Output = ()>;
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Proxy => "proxy",
            Fault::Source => "source",
            Fault::Target => "target",
        };
        write!(f, "{fault} dies at {}", self.point.name())
    }
}

/// Everything that is tried with an engine; `phases` are what it can do.
#[must_use]
pub fn all(engine: Of, phases: &[Phase]) -> Vec<Scenario> {
    let points = Point::ALL.iter().filter(|point| {
        (point.of() == Of::All || point.of() == engine) && phases.contains(&point.phase())
    });
    let faults = [Fault::Proxy, Fault::Source, Fault::Target];
    let only = std::env::var("POINTSMAN_MATRIX_ONLY").unwrap_or_default();
    points
        .flat_map(|point| {
            faults.map(|fault| Scenario {
                point: *point,
                fault,
            })
        })
        .filter(|scenario| scenario.to_string().contains(&only))
        .collect()
}

/// So many of them, others each day.
///
/// # Errors
/// The variable that chooses the round is no number.
pub fn of_today(all: &[Scenario], count: usize) -> Result<Vec<Scenario>> {
    let round = match std::env::var("POINTSMAN_MATRIX_ROUND") {
        Ok(round) => round.parse().context("POINTSMAN_MATRIX_ROUND")?,
        Err(_unset) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400,
    };
    let rounds = all.len().div_ceil(count.max(1)).max(1);
    // Neighbours are alike: those of one day are far from each other.
    let first = usize::try_from(round)? % rounds;
    Ok(all.iter().copied().skip(first).step_by(rounds).collect())
}

/// Tries one; `folder` is the one that the proxy was told.
///
/// # Errors
/// What is not as it must be, with the proxy's log.
pub async fn run(subject: &mut impl Subject, folder: &Path, scenario: Scenario) -> Result<()> {
    let tried = attempt(subject, folder, scenario).await;
    tried.with_context(|| format!("{scenario}\n{}", subject.proxy().log()))
}

async fn attempt(subject: &mut impl Subject, folder: &Path, scenario: Scenario) -> Result<()> {
    let Scenario { point, fault } = scenario;
    let load = subject.load().await;
    let command: &[&str] = match point.phase() {
        Phase::Start => &["start"],
        Phase::Stream => &["status"],
        Phase::Cutover => &["cutover"],
        Phase::Rollback => &["rollback"],
        Phase::Finish => &["finish"],
        Phase::Abort => &["abort"],
    };
    if point.phase() != Phase::Start {
        lead_to(subject.proxy(), Goal::Streaming).await?;
    }
    if matches!(point.phase(), Phase::Rollback | Phase::Finish) {
        lead_to(subject.proxy(), Goal::Switched).await?;
    }
    if point.phase() == Phase::Rollback {
        let open = |status: &Value| status["way_back"]["state"] == "open";
        let waited = subject
            .proxy()
            .wait_for("the way back is open", PATIENCE, open);
        waited.await?;
    }

    let what = match fault {
        Fault::Proxy => "kill",
        Fault::Source | Fault::Target => "wait",
    };
    std::fs::write(folder.join(point.name()), what)?;
    let mut asked = subject.proxy().begin(command)?;
    let reached = folder.join(format!("{}.reached", point.name()));
    let deadline = Instant::now() + PATIENCE;
    while !reached.exists() {
        ensure!(Instant::now() < deadline, "the point was never reached");
        tokio::time::sleep(LOOK_PERIOD / 10).await;
    }
    match fault {
        Fault::Proxy => subject.proxy().restart().await?,
        Fault::Source => subject.crash(Side::Source).await?,
        Fault::Target => subject.crash(Side::Target).await?,
    }
    if fault != Fault::Proxy {
        std::fs::remove_file(&reached)?;
    }
    let ended = tokio::time::timeout(PATIENCE, asked.wait()).await;
    ended.context("the command does not end")??;

    // Whoever serves now, the load goes on.
    load.more_commits(20, PATIENCE).await?;
    let goal = match point.phase() {
        Phase::Start | Phase::Stream | Phase::Cutover => Goal::Switched,
        Phase::Rollback => Goal::Back,
        Phase::Finish => Goal::Finished,
        Phase::Abort => Goal::Aborted,
    };
    lead_to(subject.proxy(), goal).await?;
    load.more_commits(20, PATIENCE).await?;
    let report = load.stop().await?;
    let serving = match goal {
        Goal::Switched | Goal::Finished => Side::Target,
        Goal::Streaming | Goal::Back | Goal::Aborted => Side::Source,
    };
    subject
        .confirm(&report, serving, goal != Goal::Aborted)
        .await;
    Ok(())
}

/// Where a migration is led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Streaming,
    Switched,
    Back,
    Finished,
    Aborted,
}

/// Does what an operator would do, and nothing else: wait while something goes on, and give the
/// command that is next, again if it was refused.
async fn lead_to(proxy: &Proxy, goal: Goal) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut ended = false;
    loop {
        let status = proxy.status().await?;
        let is = |key: &str, value: &str| status[key] == value;
        ensure!(!is("phase", "failed"), "it failed: {:#}", status["failure"]);
        let next: Option<&[&str]> = match goal {
            Goal::Finished | Goal::Aborted if ended => return Ok(()),
            Goal::Finished if is("phase", "finished") => return Ok(()),
            Goal::Finished => Some(&["finish"]),
            Goal::Aborted => Some(&["abort"]),
            Goal::Streaming | Goal::Back if is("phase", "streaming") => return Ok(()),
            Goal::Back if is("phase", "switched") => Some(&["rollback"]),
            Goal::Switched if is("phase", "switched") => return Ok(()),
            Goal::Switched if is("phase", "streaming") => Some(&["cutover"]),
            Goal::Streaming | Goal::Switched if is("phase", "proxying") => Some(&["start"]),
            Goal::Streaming | Goal::Switched | Goal::Back => None,
        };
        let mut said = match next {
            Some(command) => Some(proxy.cli(command).await?),
            None => None,
        };
        // What stopped before it was written down on the source is not gone on with.
        if said
            .as_ref()
            .is_some_and(|said| said.to_string().contains(ABORT_FIRST))
        {
            said = Some(proxy.cli(&["abort"]).await?);
        }
        ended = said.as_ref().is_some_and(|said| said.code == 0);
        if Instant::now() > deadline {
            bail!("{goal:?} is not reached: {status:#}\n{said:?}");
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
