//! What the clients saw against the rows that are there.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use binlog::wire::SqlConn;
use serde_json::{Value, json};

use super::record::Report;
use super::{mysql, postgres};
use crate::server::PgClient;

/// What the load's tables hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The id and the client of each event.
    pub(super) events: Vec<(i64, i32)>,
    /// Each client and its total.
    pub(super) totals: Vec<(i32, i64)>,
}

/// The outcome of a load, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Transactions that the clients saw committed.
    pub acknowledged: usize,
    /// Acknowledged, and not there.
    pub lost: usize,
    /// Ids that are there more than once.
    pub twice: usize,
    /// Failed in the client's eyes, and there nevertheless.
    pub failed_present: usize,
    /// Outcome unknown to the client (either is right).
    pub unknown: usize,
    /// Of these, how many are there.
    pub unknown_present: usize,
    /// Rows that no client of this load wrote.
    pub foreign: usize,
    /// Clients whose counter is not the sum of the ids found.
    pub wrong_totals: usize,
    /// Updates that returned another total than they had to.
    pub wrong_answers: u64,
    /// Errors that clients saw.
    pub errors: u64,
}

impl Report {
    /// Compares what the clients saw with the rows in a PostgreSQL database.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read.
    pub async fn account(&self, client: &PgClient) -> Result<Account> {
        self.judge(&postgres::found(client).await?)
    }

    /// Compares what the clients saw with the rows in a database of MySQL or MariaDB.
    ///
    /// # Errors
    ///
    /// When the rows cannot be read.
    pub async fn account_in(&self, client: &SqlConn, database: &str) -> Result<Account> {
        self.judge(&mysql::found(client, database).await?)
    }

    fn judge(&self, tables: &Found) -> Result<Account> {
        let mut found: HashMap<i64, u32> = HashMap::new();
        let mut sums: HashMap<i32, i64> = HashMap::new();
        for (id, number) in &tables.events {
            *found.entry(*id).or_default() += 1;
            let sum = sums.entry(*number).or_default();
            *sum = sum
                .checked_add(*id)
                .context("the sum of the ids is too large")?;
        }
        let mut wrong_totals = 0;
        for (number, total) in &tables.totals {
            wrong_totals += usize::from(sums.remove(number).unwrap_or(0) != *total);
        }
        Ok(self.compare(&found, wrong_totals + sums.len()))
    }

    fn compare(&self, found: &HashMap<i64, u32>, wrong_totals: usize) -> Account {
        let present = |ids: &[i64]| ids.iter().filter(|id| found.contains_key(id)).count();
        let ours: HashSet<i64> = [&self.acknowledged, &self.failed, &self.unknown]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        Account {
            acknowledged: self.acknowledged.len(),
            lost: self.acknowledged.len() - present(&self.acknowledged),
            twice: found.values().filter(|count| **count > 1).count(),
            failed_present: present(&self.failed),
            unknown: self.unknown.len(),
            unknown_present: present(&self.unknown),
            foreign: found.keys().filter(|id| !ours.contains(id)).count(),
            wrong_totals,
            wrong_answers: self.wrong_answers,
            errors: self.errors,
        }
    }
}

impl Account {
    /// Whether nothing is lost, nothing is twice, and no total or answer is wrong. Errors that
    /// clients saw are not judged.
    pub fn balances(&self) -> bool {
        self.lost == 0
            && self.twice == 0
            && self.failed_present == 0
            && self.foreign == 0
            && self.wrong_totals == 0
            && self.wrong_answers == 0
    }

    /// Whether it balances, and no client saw an error.
    pub fn is_perfect(&self) -> bool {
        self.balances() && self.errors == 0 && self.unknown == 0
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "twice": self.twice,
            "failed_present": self.failed_present,
            "unknown": self.unknown,
            "unknown_present": self.unknown_present,
            "foreign": self.foreign,
            "wrong_totals": self.wrong_totals,
            "wrong_answers": self.wrong_answers,
            "errors": self.errors,
        })
    }
}
