//! Runs one program in a pod of its own, the way the gateway does, with this terminal's input and output.
//!
//! ```text
//! exec [--pod POD.JSON] [--tty COLSxROWS] [--env A=B]... [--signal SECONDS:NAME] [--abandon SECONDS]
//!      [--file PATH]... [--gateway POD:UID] [--give-up SECONDS] [-- COMMAND]
//! ```
//! Without a command it runs the shell; a command `@name` is the subsystem `name`. POD.JSON has the keys of `kubernetes.pod`.
//! Writes what it measures to standard error.

#![allow(clippy::print_stderr, reason = "a program for the terminal")]

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use containerssh_backend::{
    Backend, Command, ConnectionInfo, Output, ProgramInput, ProgramSpec, Pty, Signal, WindowSize, progress,
};
use containerssh_config::Kubernetes;
use containerssh_kubernetes::{Identity, KubernetesBackend, PodIdentity, RunId};
use tokio::io::AsyncReadExt;

/// What the command line says.
#[derive(Default)]
struct Arguments {
    pod: Option<String>,
    size: Option<WindowSize>,
    env: Vec<(String, String)>,
    signal: Option<(Duration, Signal)>,
    abandon: Option<Duration>,
    file: Vec<String>,
    gateway: Option<PodIdentity>,
    give_up: Option<Duration>,
    command: Vec<String>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.command = words.collect();
            break;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--pod" => parsed.pod = Some(value),
            "--tty" => {
                let (columns, rows) = value.split_once('x').ok_or("--tty COLSxROWS")?;
                parsed.size = Some(WindowSize {
                    columns: columns.parse()?,
                    rows: rows.parse()?,
                    ..WindowSize::default()
                });
            }
            "--env" => {
                let (name, value) = value.split_once('=').ok_or("--env A=B")?;
                parsed.env.push((name.to_owned(), value.to_owned()));
            }
            "--signal" => {
                let (seconds, name) = value.split_once(':').ok_or("--signal SECONDS:NAME")?;
                let signal = Signal::parse(name).ok_or("an unknown signal")?;
                parsed.signal = Some((Duration::from_secs_f64(seconds.parse()?), signal));
            }
            "--abandon" => parsed.abandon = Some(Duration::from_secs_f64(value.parse()?)),
            "--gateway" => {
                let (name, uid) = value.split_once(':').ok_or("--gateway POD:UID")?;
                parsed.gateway = Some(PodIdentity { name: name.to_owned(), uid: uid.to_owned() });
            }
            "--give-up" => parsed.give_up = Some(Duration::from_secs_f64(value.parse()?)),
            "--file" => parsed.file.push(value),
            _ => return Err(format!("unknown option {word}").into()),
        }
    }
    Ok(parsed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let mut config = Kubernetes::default();
    if let Some(file) = &arguments.pod {
        config.pod = serde_json::from_slice(&std::fs::read(file)?)?;
    }
    let identity = Identity {
        gateway: "example".to_owned(),
        namespace: config.pod.metadata.namespace.clone().unwrap_or_default(),
        pod: arguments.gateway.clone(),
        run: RunId::random(),
    };
    let _log = containerssh_log::init(&containerssh_log::LogSettings::default())?;
    let backend = KubernetesBackend::start(&config, identity, &mut Default::default()).await?;
    backend.activate();

    let (sender, mut shown) = progress();
    tokio::spawn(async move {
        while shown.changed().await.is_ok() {
            let state = shown.borrow_and_update().clone().unwrap_or_default();
            eprintln!("... {state}");
        }
    });
    let connection = connection(&arguments.file)?;
    let begun = Instant::now();
    let connecting = backend.connect(Arc::new(connection), sender);
    let patience = arguments.give_up.unwrap_or(Duration::MAX);
    let guest = match tokio::time::timeout(patience, connecting)
        .await
        .map_or_else(|_| Err("gave up".into()), |done| done.map_err(Into::into))
    {
        Ok(guest) => guest,
        Err(error) => {
            let pending = backend.drain((Instant::now() + Duration::from_secs(10)).into()).await;
            eprintln!("{pending} removals pending");
            return Err(error);
        }
    };
    eprintln!("{} ready after {:?}", guest.name(), begun.elapsed());

    let begun = Instant::now();
    let command = match arguments.command.join(" ") {
        line if line.is_empty() => Command::Shell,
        line => line
            .strip_prefix('@')
            .map_or(Command::Exec(line.clone()), |name| Command::Subsystem(name.to_owned())),
    };
    let pty = arguments.size.map(|size| Pty { term: "xterm".to_owned(), size, modes: Default::default() });
    let env = arguments.env.clone();
    let spec = ProgramSpec { channel: 0, command, env, pty, x11: None, auth_agent: false };
    let result = guest.start(spec).await;
    let program = match result {
        Ok(program) => program,
        Err(error) => {
            guest.close().await;
            return Err(error.into());
        }
    };
    eprintln!("started after {:?}", begun.elapsed());

    let begun = Instant::now();
    if let Some(after) = arguments.abandon {
        drop(program.input);
        drop(program.output);
        tokio::time::sleep(after).await;
        eprintln!("abandoned for {after:?}");
        guest.close().await;
        return Ok(());
    }
    let sent = Arc::new(AtomicUsize::new(0));
    let input = tokio::spawn(pump_input(program.input, arguments.signal, arguments.size, Arc::clone(&sent)));
    let mut output = program.output;
    let mut received = 0;
    let end = tokio::select! {
        end = async {
            loop {
                match output.next().await {
                    Ok(Output::Stdout(data)) => {
                        received += data.len();
                        std::io::stdout().lock().write_all(&data)?;
                    }
                    Ok(Output::Stderr(data)) => std::io::stderr().lock().write_all(&data)?,
                    end => return Ok::<_, std::io::Error>(end),
                }
            }
        } => end?,
        reason = guest.gone() => Err(reason),
    };
    let seconds = begun.elapsed().as_secs_f64();
    std::io::stdout().flush()?;
    input.abort();
    let sent = sent.load(Ordering::Relaxed);
    eprintln!("{end:?} after {seconds:.3} s; down {received} B, {:.1} MB/s", received as f64 / seconds / 1e6);
    eprintln!("up {sent} B, {:.1} MB/s", sent as f64 / seconds / 1e6);
    let begun = Instant::now();
    guest.close().await;
    eprintln!(
        "closed after {:?}; {} removals pending",
        begun.elapsed(),
        backend.drain((begun + Duration::from_secs(5)).into()).await
    );
    Ok(())
}

fn connection(files: &[String]) -> Result<ConnectionInfo, Box<dyn Error>> {
    let mut connection = ConnectionInfo {
        connection_id: format!("{:032x}", rand::random::<u128>()),
        remote_addr: "127.0.0.1:1".parse()?,
        username: "example".to_owned(),
        authenticated_username: String::new(),
        metadata: Default::default(),
        environment: Default::default(),
        files: Default::default(),
    };
    for file in files {
        let content = std::fs::read(file)?.into();
        connection.files.insert(file.clone(), containerssh_backend::FileValue { content, sensitive: false });
    }
    Ok(connection)
}

async fn pump_input(
    mut input: Box<dyn ProgramInput>,
    signal: Option<(Duration, Signal)>,
    size: Option<WindowSize>,
    sent: Arc<AtomicUsize>,
) {
    if let Some((after, signal)) = signal {
        tokio::time::sleep(after).await;
        eprintln!("signal {}: {:?}", signal.name(), input.signal(signal).await);
    }
    if let Some(size) = size {
        let larger = WindowSize { columns: size.columns + 1, rows: size.rows + 1, ..size };
        eprintln!("resize: {:?}", input.resize(larger).await);
    }
    let mut stdin = tokio::io::stdin();
    loop {
        let mut buffer = BytesMut::with_capacity(32 * 1024);
        match stdin.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => sent.fetch_add(read, Ordering::Relaxed),
        };
        if let Err(error) = input.stdin(buffer.freeze()).await {
            eprintln!("input: {error}");
            return;
        }
    }
    eprintln!("end of input: {:?}", input.eof().await);
    // The halves end the program when both are dropped, so this one stays until the output has ended.
    std::future::pending::<()>().await;
}
