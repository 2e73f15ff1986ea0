//! `containerssh-auditlog-tool`, as an auditor runs it: the program that the release holds.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{Environment, program};

/// The program, with the store's credentials in its environment.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    environment: Environment,
}

impl Tool {
    /// The one that `e2e/images build` left.
    pub async fn built(environment: &Environment) -> Result<Self> {
        let program = program::auditlog_tool().await?;
        Ok(Self { program, environment: environment.clone() })
    }

    /// A command line of it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", &self.environment.s3_access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.environment.s3_secret_key)
            .env("AWS_ENDPOINT_URL_S3", &self.environment.s3_endpoint)
            .env("AWS_REGION", "us-east-1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it; an error unless it exits with `code`. Gives what it printed.
    pub async fn run(&self, arguments: &[&str], code: i32) -> Result<String> {
        let output = self.command(arguments).output().await.context("running the tool")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {} instead of {code}\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// The URL of an object in the tests' bucket.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.environment.s3_bucket)
    }
}
