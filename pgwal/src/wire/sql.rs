//! Control queries: `tokio-postgres` with the settings that all statements of ours rely on.

use std::ops::Deref;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::endpoint::Endpoint;
use super::error::ConnectError;
use super::settings::SESSION_SETTINGS;

/// A connection for control queries. It derefs to the client; dropping it closes the connection.
#[derive(Debug)]
pub struct SqlConn {
    client: Client,
    pid: i32,
    /// Drives the connection; aborted when this is dropped.
    _driver: JoinSet<()>,
}

impl Endpoint {
    /// Opens a connection for control queries.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or takes too long.
    pub async fn connect_sql(&self, application_name: &str) -> Result<SqlConn, ConnectError> {
        match timeout(self.connect_timeout, self.open_sql(application_name)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout {
                endpoint: self.to_string(),
                timeout: self.connect_timeout,
            }),
        }
    }

    async fn open_sql(&self, application_name: &str) -> Result<SqlConn, ConnectError> {
        let mut config = Config::new();
        config
            .user(&self.user)
            .dbname(&self.database)
            .application_name(application_name)
            // The socket has it already, if it is to have it.
            .ssl_mode(SslMode::Disable);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        let failed = |source| ConnectError::Sql {
            endpoint: self.to_string(),
            user: self.user.clone(),
            source,
        };
        let socket = self.connect_socket().await?;
        let connected = config.connect_raw(socket, NoTls).await;
        let (client, connection) = connected.map_err(failed)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control connection ended");
            }
        });
        client
            .batch_execute(SESSION_SETTINGS)
            .await
            .map_err(failed)?;
        let row = client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
            .await
            .map_err(failed)?;
        let pid = row.try_get(0).map_err(failed)?;
        Ok(SqlConn {
            client,
            pid,
            _driver: driver,
        })
    }
}

impl SqlConn {
    /// The process id of the backend.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.pid
    }
}

impl Deref for SqlConn {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for SqlConn {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
