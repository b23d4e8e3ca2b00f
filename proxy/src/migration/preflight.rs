//! The command `check`: looks at both servers and says what stands in the way.

use crate::admin::protocol::Response;
use crate::engine::{Engine, Finding, Level};
use crate::exit::Exit;

/// Checks both servers; changes nothing.
pub(super) async fn check<E: Engine>(engine: &E, accept: &[String]) -> Response {
    let known = |word: &&String| E::ACCEPTABLE.contains(&word.as_str());
    if let Some(unknown) = accept.iter().find(|word| !known(word)) {
        let all = match E::ACCEPTABLE {
            [] => "there is nothing to accept".to_owned(),
            some => format!("the only thing to accept is {}", some.join(", ")),
        };
        return Response {
            exit: Exit::Usage,
            ..Response::refused(format!("--accept {unknown}: {all}"))
        };
    }
    answer(&engine.check(accept).await)
}

fn answer(findings: &[Finding]) -> Response {
    let count = |level: Level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (fail, warn) = (count(Level::Fail), count(Level::Warn));
    let mut lines: Vec<String> = findings.iter().map(|one| one.text.clone()).collect();
    lines.push(match (fail, warn) {
        (0, 0) => "nothing stands in the way".to_owned(),
        (0, warn) => format!("nothing stands in the way; {warn} to know about"),
        (fail, _) => format!("{fail} to mend before `pointsman start`"),
    });
    let text = lines.join("\n");
    let response = if fail == 0 {
        Response::done(text)
    } else {
        Response::refused(text)
    };
    let findings: Vec<_> = findings.iter().map(|one| &one.json).collect();
    response.with_result(findings)
}
