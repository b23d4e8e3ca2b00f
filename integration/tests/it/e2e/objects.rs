//! What is moved otherwise than table rows, or not at all: it is said beforehand.

use integration::proxy::Proxy;

use super::stage::{DATABASE, Stage, configured, empty_target, filled_source, usual};

/// P7: what no stream has is refused, or said, before anything begins.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_large_objects_and_unlogged_rows_stay_behind_and_views_are_refreshed() {
    let source = filled_source(14, usual()).await;
    let sql = "SELECT lo_create(4711); SET ROLE app;
        CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); INSERT INTO cache VALUES (1);
        CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS one WITH NO DATA";
    source.execute(DATABASE, sql).await.unwrap();
    let target = empty_target(17, usual()).await;
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    let said = proxy.cli(&["start"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    for words in [
        "1 large objects",
        "unlogged tables: public.cache",
        "materialized views: public.sales_kept",
        "nothing was changed",
    ] {
        assert!(said.to_string().contains(words), "no {words:?} in {said}");
    }

    proxy
        .done(&["start", "--accept", "large-objects"])
        .await
        .unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    let stage = Stage {
        source,
        target,
        proxy,
    };
    stage.cutover().await;
    let ask = |sql: &str| stage.target.psql(DATABASE, sql).unwrap();
    assert_eq!(ask("SELECT count(*) FROM pg_largeobject_metadata"), "0");
    assert_eq!(ask("SELECT count(*) FROM cache"), "0");
    assert_eq!(
        ask("SELECT relpersistence FROM pg_class WHERE relname = 'cache'"),
        "u"
    );
    let views = "SELECT string_agg(relispopulated::text, ' ' ORDER BY relname) FROM pg_class
        WHERE relkind = 'm'";
    assert_eq!(ask(views), "false true");
    let sums = "SELECT sum(net) FROM sales_kept";
    assert_eq!(ask(sums), stage.source.psql(DATABASE, sums).unwrap());
}
