//! Log-in by password, by stored hash and by recovered keys: both roles of SCRAM-SHA-256 and md5.
//!
//! In the server's role only the verifier is known, as the server itself keeps it; a client's
//! correct proof reveals its `ClientKey`, which opens every server that holds the same verifier.
//! Comparisons of secrets take constant time. Iteration counts of unknown servers are capped.

pub mod md5;
pub mod scram;

mod verifier;

pub use verifier::Verifier;

use super::limits::SCRAM_ITERATIONS_MAX;

/// Why an authentication exchange cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The server wants a password and we have none.
    #[error("the server asks for a password and none is known")]
    PasswordRequired,
    /// The server wants the password in clear.
    #[error(
        "the server asks for the password in clear text, which pointsman never sends; use scram-sha-256 in pg_hba.conf"
    )]
    CleartextRefused,
    /// What we hold does not fit the method that the server asks for.
    #[error("the server asks for {asked} but only {known} is known for this user")]
    WrongMaterial {
        /// The method.
        asked: &'static str,
        /// What we hold.
        known: &'static str,
    },
    /// A method we do not know.
    #[error("the server asks for {0}, which is not supported")]
    Unsupported(String),
    /// The peer's message is not what SCRAM prescribes.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The server asks for too much work.
    #[error(
        "the server asks for {0} SCRAM iterations; at most {SCRAM_ITERATIONS_MAX} are computed"
    )]
    TooManyIterations(u32),
    /// The server does not know the secret.
    #[error("the server did not prove that it knows the user's secret")]
    ServerNotProven,
    /// The client's proof is wrong.
    #[error("the proof of the password is wrong")]
    WrongProof,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}
