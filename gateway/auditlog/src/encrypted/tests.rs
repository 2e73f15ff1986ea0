//! Whole and cut records come back.

use std::io::Read;

use super::*;

fn keys() -> (Arc<Identities>, Recipients) {
    let key = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&[key.to_public().to_string()]).unwrap().unwrap();
    let mut identities = Identities::default();
    let text = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
    identities.add(format!("# a comment\n{text}\n").as_bytes()).unwrap();
    (Arc::new(identities), recipients)
}

/// Bytes without a pattern (xorshift), the same in each run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// The two files after each piece, and the finished one.
/// What the file held and what was still to come, after each piece.
type Steps = Vec<(Vec<u8>, Vec<u8>)>;

fn written(pieces: &[&[u8]], recipients: &Recipients) -> (Steps, Vec<u8>) {
    let (mut sealer, mut chunks) = Sealer::start(recipients.clone()).unwrap();
    let mut tail = Vec::new();
    let mut states = vec![(chunks.clone(), tail.clone())];
    for piece in pieces {
        let sealed = sealer.push(piece, Kind::Piece).unwrap();
        chunks.extend_from_slice(&sealed.chunks);
        tail.extend_from_slice(&sealed.frame);
        states.push((chunks.clone(), tail.clone()));
    }
    chunks.extend_from_slice(&sealer.finish().unwrap());
    (states, chunks)
}

fn read(record: &[u8], identities: &Arc<Identities>) -> std::io::Result<Vec<u8>> {
    let mut plaintext = Vec::new();
    Decrypted::new(record, identities).map_err(std::io::Error::other)?.read_to_end(&mut plaintext)?;
    Ok(plaintext)
}

/// What recovery makes of the two files.
fn recovered(chunks: &[u8], tail: &[u8], recipients: &Recipients) -> Vec<u8> {
    let whole = usize::try_from(whole_chunks(chunks, chunks.len() as u64).unwrap()).unwrap();
    let frames = usize::try_from(scan_tail(tail).unwrap().length).unwrap();
    let mut record = chunks[..whole].to_vec();
    record.extend_from_slice(TAIL_START);
    record.extend_from_slice(&tail[..frames]);
    record.extend_from_slice(&closing(recipients, b"<closed>").unwrap());
    record
}

#[test]
fn a_finished_record_is_an_ordinary_age_file() {
    let key = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&[key.to_public().to_string()]).unwrap().unwrap();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
        let data = noise(length);
        let pieces: Vec<&[u8]> = data.chunks(10_000).collect();
        let (_, record) = written(&pieces, &recipients);
        assert!(age::decrypt(&key, &record).unwrap() == data, "{length}");
    }
}

#[test]
fn what_is_cut_anywhere_is_read_up_to_the_last_piece_that_was_written() {
    let (identities, recipients) = keys();
    let data = noise(5 * CHUNK + 777);
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut rest = &data[..];
    for length in [40, 1, 300, 70_000, 5, 64_000, 65_536, 2, 100_000, 60_000].into_iter().cycle() {
        let (piece, more) = rest.split_at(rest.len().min(length));
        pieces.push(piece);
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    let (states, finished) = written(&pieces, &recipients);
    assert!(read(&finished, &identities).unwrap() == data);
    let mut length = 0;
    for (number, (chunks, tail)) in states.iter().enumerate() {
        length += number.checked_sub(1).map_or(0, |piece| pieces[piece].len());
        let expected = [&data[..length], b"<closed>"].concat();
        assert!(read(&recovered(chunks, tail, &recipients), &identities).unwrap() == expected, "{number}");
        // Torn while the next chunk or frame was written: nothing of what was there before is lost.
        if let Some((next_chunks, next_tail)) = states.get(number + 1) {
            for cut in [1, 17, 5000] {
                let torn_chunks = &next_chunks[..(chunks.len() + cut).min(next_chunks.len())];
                let torn_tail = &next_tail[..(tail.len() + cut).min(next_tail.len() - 1)];
                for (chunks, tail) in [
                    (torn_chunks, &tail[..]),
                    (&next_chunks[..], &tail[..]),
                    (&chunks[..], torn_tail),
                    (&next_chunks[..], torn_tail),
                ] {
                    let read = read(&recovered(chunks, tail, &recipients), &identities).unwrap();
                    let kept = read.strip_suffix(b"<closed>").unwrap();
                    assert!(data.starts_with(kept) && kept.len() >= length, "{number}, {cut}");
                }
            }
        }
    }
}

#[test]
fn a_tail_that_was_begun_anew_holds_what_the_chunks_do_not() {
    let (identities, recipients) = keys();
    let data = noise(2 * CHUNK + 100);
    let (mut sealer, mut chunks) = Sealer::start(recipients.clone()).unwrap();
    for piece in data.chunks(1000) {
        chunks.extend_from_slice(&sealer.push(piece, Kind::Piece).unwrap().chunks);
    }
    let tail = sealer.tail(Kind::Last).unwrap();
    assert!(scan_tail(&tail[..]).unwrap().ended);
    let record = recovered(&chunks, &tail, &recipients);
    assert_eq!(read(&record, &identities).unwrap(), [&data[..], b"<closed>"].concat());
}

#[test]
fn a_header_that_never_reached_the_disk_costs_nothing() {
    let (identities, recipients) = keys();
    let (states, _) = written(&[b"typed"], &recipients);
    let (chunks, tail) = &states[1];
    for length in [0, 10, chunks.len() - 1] {
        let record = recovered(&chunks[..length], tail, &recipients);
        assert!(is_encrypted(&record));
        assert_eq!(read(&record, &identities).unwrap(), b"typed<closed>");
    }
}

#[test]
fn each_recipient_reads_alone_and_nobody_else() {
    let ((one, a), (two, b), (other, _)) = (keys(), keys(), keys());
    let both = Recipients(a.0.iter().chain(b.0.iter()).cloned().collect());
    let (states, record) = written(&[b"secret"], &both);
    for identities in [&one, &two] {
        assert_eq!(read(&record, identities).unwrap(), b"secret");
    }
    let error =
        |identities: &Arc<Identities>| Decrypted::new(&record[..], identities).unwrap_err().to_string();
    assert!(error(&other).contains("other keys"));
    assert!(error(&Arc::default()).contains("give the key"));
    let (chunks, tail) = &states[1];
    for stored in [chunks, tail, &record] {
        assert!(!stored.windows(6).any(|window| window == b"secret"));
    }
}

#[test]
fn no_changed_byte_is_read_as_if_nothing_were() {
    let (identities, recipients) = keys();
    let data = noise(CHUNK + 500);
    let pieces: Vec<&[u8]> = data.chunks(30_000).collect();
    let (states, finished) = written(&pieces, &recipients);
    let (chunks, tail) = states.last().unwrap();
    let cut = recovered(chunks, tail, &recipients);
    let expected = [&data[..], b"<closed>"].concat();
    for (record, expected) in [(finished, data.clone()), (cut, expected)] {
        for at in (0..record.len()).step_by(997) {
            let mut changed = record.clone();
            changed[at] ^= 1;
            // A frame that repeats what is in a chunk may be damaged without a loss, and one at the end may go missing; what
            // is read is never anything else than what was written.
            if let Ok(read) = read(&changed, &identities) {
                assert!(expected.starts_with(&read) || read == expected, "byte {at}");
            }
        }
    }
}

#[test]
fn what_is_no_identity_is_refused_without_showing_it() {
    let error = Identities::default().add(&b"# key\nAGE-SECRET-KEY-1OOPS\n"[..]).unwrap_err().to_string();
    assert_eq!(error, "line 2 is no age identity");
    assert!(Identities::default().add(&b"# nothing\n"[..]).is_err());
    assert_eq!(Recipients::parse(&["age1".to_owned()]).unwrap_err(), NotARecipient(1));
    assert!(Recipients::parse(&[]).unwrap().is_none());
}

#[test]
fn hostile_files_end() {
    let (identities, _) = keys();
    let endless = [MAGIC, &[b'x'; 200_000]].concat();
    let mut claims = TAIL_START.to_vec();
    claims.extend_from_slice(&[b'P', 0xff, 0xff, 0xff, 0xff]);
    let mut short = TAIL_START.to_vec();
    short.extend_from_slice(&[b'P', 0xff, 0, 0, 0, 1, 2, 3]);
    for file in [&endless[..], &claims, &short, b"", MAGIC, b"age-encryption.org/v1\n--- x\n"] {
        if let Ok(mut record) = Decrypted::new(file, &identities) {
            let mut plaintext = Vec::new();
            let _either = record.read_to_end(&mut plaintext);
            assert!(plaintext.is_empty());
        }
    }
}
