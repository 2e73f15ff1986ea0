//! `containerssh-gateway`: reads its configuration and runs, or does one of the smaller tasks of its command line.

use std::process::ExitCode;

use clap::Parser as _;
use containerssh_gateway::{Cli, Command, admin, codes, convert, demo, reload, run};

/// The configuration is wrong: nothing that trying again would mend (sysexits.h, `EX_USAGE`).
const BAD_CONFIG: u8 = 64;

fn main() -> ExitCode {
    // Before anything else: this process may be a program of a user's that is about to start.
    if let Some(code) = containerssh_agent::launch::main_if_asked() {
        return code;
    }
    let cli = Cli::parse();
    if cli.codes {
        return print(&codes::markdown());
    }
    if cli.schema {
        return print(&format!("{:#}\n", containerssh_config::Config::json_schema()));
    }
    if cli.openapi {
        return print(&format!("{:#}\n", containerssh_auth::webhook::openapi()));
    }
    if cli.keys {
        return print(&containerssh_config::reference_markdown());
    }
    match &cli.command {
        Some(Command::Demo(demo)) => {
            let done = demo::run(demo);
            return done.map_or_else(|error| fail(1, &format!("{error:#}")), |()| ExitCode::SUCCESS);
        }
        Some(Command::Convert { file, name, namespace }) => {
            return match reload::load(file) {
                Ok(loaded) => {
                    let made = convert::convert(&loaded.config, name, namespace).to_yaml();
                    made.map_or_else(|error| fail(1, &error), |text| print(&text))
                }
                Err(error) => fail(BAD_CONFIG, &error),
            };
        }
        None => {}
    }
    let loaded = match reload::load(&cli.config) {
        Ok(loaded) => loaded,
        Err(error) => return fail(BAD_CONFIG, &error),
    };
    if cli.check {
        for warning in &loaded.warnings {
            warn(&cli.config, warning);
        }
        return ExitCode::SUCCESS;
    }
    if cli.dump_config {
        return loaded.config.dump().map_or_else(|error| fail(1, &error), |text| print(&text));
    }
    if cli.healthcheck {
        return healthcheck(&loaded.config);
    }
    // What goes wrong from here on stands in the log.
    run(&cli.config, loaded).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn healthcheck(config: &containerssh_config::Config) -> ExitCode {
    if !config.health.enable {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = match runtime {
        Ok(runtime) => runtime.block_on(admin::check(config.health.listen)),
        Err(error) => Err(error.to_string()),
    };
    checked.map_or_else(|error| fail(1, &error), |()| ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "what the command line asked for")]
fn print(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

#[allow(clippy::print_stderr, reason = "there is no log here")]
fn warn(file: &std::path::Path, warning: &containerssh_config::Warning) {
    eprintln!(
        "containerssh-gateway: {}:{}: {} ({})",
        file.display(),
        warning.line,
        warning.message,
        warning.code
    );
}

#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("containerssh-gateway: {error}");
    ExitCode::from(code)
}
