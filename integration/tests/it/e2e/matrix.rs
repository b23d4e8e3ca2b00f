//! P5: the crash matrix of PostgreSQL.

use anyhow::Result;
use integration::load::{Load, Report};
use integration::matrix::{self, Scenario, Subject, VARIABLE};
use integration::proxy::Proxy;
use router::Side;
use router::failpoint::{Of, Phase};

use super::stage::{DATABASE, Stage, usual};

/// What is tried in each usual run.
const TODAY: usize = 5;

/// In so many parts the whole matrix is tried.
const PARTS: usize = 6;

impl Subject for Stage {
    fn proxy(&mut self) -> &mut Proxy {
        &mut self.proxy
    }

    async fn load(&self) -> Load {
        Self::load(self, 3).await
    }

    async fn crash(&mut self, side: Side) -> Result<()> {
        let server = match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        server.kill9()?;
        server.restart().await
    }

    async fn confirm(&self, report: &Report, serving: Side, are_both_filled: bool) {
        let serving = match serving {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        self.assert_balanced(report, serving).await;
        if are_both_filled {
            self.assert_same_contents().await;
        } else {
            let left = "SELECT coalesce(string_agg(c.oid::regclass::text, ' '), '') FROM pg_class c
                WHERE c.oid >= 16384 AND c.relnamespace <> 'pg_toast'::regnamespace";
            assert_eq!(self.target.psql(DATABASE, left).unwrap(), "");
        }
    }
}

fn all() -> Vec<Scenario> {
    let phases = [
        Phase::Start,
        Phase::Stream,
        Phase::Cutover,
        Phase::Rollback,
        Phase::Finish,
        Phase::Abort,
    ];
    matrix::all(Of::Postgres, &phases)
}

async fn run(scenarios: impl IntoIterator<Item = Scenario>) {
    let mut failed = Vec::new();
    for scenario in scenarios {
        let folder = tempfile::tempdir().unwrap();
        let points = folder.path().to_str().unwrap();
        let configure = |options: integration::proxy::ProxyOptions| options.env(VARIABLE, points);
        let mut stage = Stage::with(14, 17, usual(), configure).await;
        if let Err(error) = matrix::run(&mut stage, folder.path(), scenario).await {
            failed.push(format!("{error:#}"));
        }
    }
    let count = failed.len();
    assert_eq!(count, 0, "{}", failed.join("\n\n"));
}

/// P5: nobody chooses who serves, whatever dies wherever.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_at_any_point_one_side_has_everything_today() {
    run(matrix::of_today(&all(), TODAY).unwrap()).await;
}

async fn part(number: usize) {
    run(all().into_iter().skip(number).step_by(PARTS)).await;
}

macro_rules! parts {
    ($($name:ident $number:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "one of six parts of the whole crash matrix takes minutes"]
            async fn $name() {
                part($number).await;
            }
        )*
    };
}

parts! {
    after_a_crash_at_any_point_one_side_has_everything_part_1 0;
    after_a_crash_at_any_point_one_side_has_everything_part_2 1;
    after_a_crash_at_any_point_one_side_has_everything_part_3 2;
    after_a_crash_at_any_point_one_side_has_everything_part_4 3;
    after_a_crash_at_any_point_one_side_has_everything_part_5 4;
    after_a_crash_at_any_point_one_side_has_everything_part_6 5;
}
