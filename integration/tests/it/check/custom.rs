//! The names of the application's own settings.

use pgwal::check;

use super::start;
use crate::fence_fixture::connect;

#[tokio::test]
async fn custom_settings_are_found_where_the_application_uses_them() {
    for major in [12, 14, 18] {
        let server = start(major).await;
        let client = connect(&server.url("postgres", "postgres")).await;
        client
            .batch_execute(
                "CREATE TABLE public.t (id int PRIMARY KEY, tenant text
                     DEFAULT current_setting('app.by_default', true)
                     CHECK (tenant <> current_setting('app.by_check', true)));
                 ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;
                 CREATE POLICY p ON public.t USING (tenant = current_setting('app.Tenant'::text))
                     WITH CHECK (tenant = current_setting( 'app.by_policy' , true));
                 CREATE VIEW public.v AS SELECT current_setting('app.by_view') AS x;
                 CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN
                     PERFORM set_config('app.by_set_config', 'x', false);
                     SET LOCAL app.by_set = 'y'; END $f$;
                 CREATE FUNCTION public.g() RETURNS text LANGUAGE sql
                     SET app.by_function = 'z' AS 'SELECT current_setting(''deep.er.name'')';
                 ALTER ROLE postgres SET app.by_role = 'q';
                 ALTER DATABASE postgres SET work_mem = '8MB'",
            )
            .await
            .unwrap();
        if major >= 14 {
            client
                .batch_execute(
                    "CREATE FUNCTION public.h() RETURNS text LANGUAGE sql
                         RETURN current_setting('app.by_body')",
                )
                .await
                .unwrap();
        }
        let mut expected = vec![
            "app.by_body",
            "app.by_check",
            "app.by_default",
            "app.by_function",
            "app.by_policy",
            "app.by_role",
            "app.by_set",
            "app.by_set_config",
            "app.by_view",
            "app.tenant",
            "deep.er.name",
        ];
        if major < 14 {
            expected.remove(0);
        }
        assert_eq!(
            check::custom_settings(&client).await.unwrap(),
            expected,
            "{major}"
        );
    }
}
