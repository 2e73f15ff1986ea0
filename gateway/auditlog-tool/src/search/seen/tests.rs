use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::search::pattern::Pattern;

const SECOND: u64 = 1_000_000_000;

/// What is found of pieces of output, each at its time, on a terminal of this size.
fn found_on((columns, rows): (u32, u32), pattern: &str, pieces: &[(u64, &[u8])]) -> Vec<(u64, String)> {
    let pattern = Pattern::new(pattern, false, false).unwrap();
    let mut found = Vec::new();
    let mut sink = |time: u64, line: &[u8], _: Range<usize>| {
        found.push((time, String::from_utf8_lossy(line).into_owned()));
    };
    let search = &mut Search { pattern: &pattern, sink: &mut sink };
    let mut seen = Seen::new(columns, rows);
    for (time, piece) in pieces {
        seen.push(piece, *time, search);
    }
    seen.finish(search);
    found
}

/// The lines that are found of output at one time.
fn found(pattern: &str, output: &str) -> Vec<String> {
    let found = found_on((20, 4), pattern, &[(0, output.as_bytes())]);
    found.into_iter().map(|(_, line)| line).collect()
}

#[test]
fn what_was_there_only_for_a_moment_was_seen() {
    for output in [
        "my secret\rnothing!!",
        "my secret\x1b[2K",
        "my secret\x1b[2J\x1b[H",
        "my secret\r\x1b[Knothing",
        "my secret\r\x1b[9P",
        "my secret\r\x1b[9X",
        "my secret\r\x1b[1J\x1b[9C\x1b[1J",
        "my secret\r\x1b[J",
        "my secret\x1bc",
        "my secret\x1b#8",
        "my secret\r\x1b[L",
        "my secret\r\x1b[M",
        "my secret\x1b[S",
        "my secret\x1b[H\x1bM\x1bM\x1bM\x1bM",
        "my secret\x1b[?1049h",
        "my secret\x08\x08\x08\x08\x08\x08\x1b[K",
        "my secret\x08 \x08\x08 \x08\x08 \x08",
        "my secret\x08x",
        "my secret\r\nb\r\nc\r\nd\r\ne\r\nf",
        "\x1b[?1049h\x1b[Hmy secret\x1b[?1049l",
        "\x1b[?1049hmy secret\r\nb\r\nc\r\nd\r\ne\r\nf",
        "\x1b[2;3r\x1b[2Hmy secret\r\n\n\n\n",
        "\x1b[?7lmy secret\x1b[H.........",
        "\x1b[4hmy secret\r\x1b[4l.........",
        "my secret",
    ] {
        assert_eq!(found("secret$", output), ["my secret"], "{output:?}");
    }
}

#[test]
fn a_text_put_together_by_moving_the_cursor_is_found_as_it_looked() {
    for output in [
        "\x1b[1;4Hsecret\x1b[1;1Hmy",
        "my\x1b[3Gssecret\x1b[3G ",
        "\x1b[4Gsec\x1b[0;31mret\x1b[0m\rm\x1b[1my",
        "my sect\x1b[D\x1b[2@re",
        "my sXecret\x1b[5G\x1b[P",
        "ret\r\x1b[6@my sec",
        "my secret\r\x1b[C",
        "\x1b[3Hmy s\x1b[s\x1b[H.\x1b[uecret",
        "\x1b)0my \x0e\x0fsecret",
    ] {
        assert!(found("^my secret$", output).contains(&"my secret".to_owned()), "{output:?}");
    }
}

#[test]
fn a_line_that_the_terminal_wrapped_is_one_line_however_long() {
    let line = format!("{}my secret{}", "x".repeat(75), "y".repeat(200));
    for end in ["", "\r\n", "\x1b[2J", "\r\n\n\n\n\n\n"] {
        let found = found("xmy secrety", &format!("{line}{end}"));
        assert_eq!(found.len(), 1, "{end:?}: {found:?}");
    }
}

/// Its second row has changed, and its first is about to.
#[test]
fn a_change_in_one_row_counts_when_another_row_of_the_line_is_written_over() {
    let line = "aaaaaaaaaaaaaaaaaaaabcx";
    let found = found("bc.$", &format!("{line}\x08y\x1bMzzzz"));
    assert_eq!(found[..2], [line.to_owned(), line.replace('x', "y")]);
}

#[test]
fn wide_and_combined_characters_are_found() {
    assert_eq!(found("\u{6f22}\u{5b57}", "x\u{6f22}\u{5b57}y"), ["x\u{6f22}\u{5b57}y"]);
    assert_eq!(found("e\u{301}t", "e\u{301}te"), ["e\u{301}te"]);
}

#[test]
fn the_mixture_while_one_line_is_written_over_another_is_no_line() {
    assert_eq!(found(".", "aaaaaa\rbbbb\x1b[K"), ["aaaaaa", "bbbb"]);
    assert_eq!(found(".", "aaaa\rbbbbbb"), ["aaaa", "bbbbbb"]);
}

#[test]
fn titles_and_other_hidden_text_were_not_seen() {
    assert_eq!(found("secret", "\x1b]0;secret\x07\x1bPsecret\x1b\\x"), Vec::<String>::new());
}

#[test]
fn of_a_screen_that_is_painted_again_and_again_the_first_and_last_are_reported_and_what_comes_back_later_again()
 {
    let frame = |number: u64| format!("\x1b[H\x1b[2Jtop {number}\r\nproc sshd {}", number * 7 % 10);
    let frames: Vec<String> = (0..20).map(frame).collect();
    let pieces: Vec<(u64, &[u8])> =
        frames.iter().enumerate().map(|(at, frame)| (at as u64 * 3 * SECOND, frame.as_bytes())).collect();
    assert_eq!(
        found_on((20, 4), "sshd", &pieces),
        [(0, "proc sshd 0".into()), (57 * SECOND, "proc sshd 3".into())]
    );

    let output = b"\x1b[H\x1b[2J$ rm x";
    let cleared = b"\x1b[H\x1b[2J$ ";
    let pieces: [(u64, &[u8]); 4] =
        [(0, output), (10 * SECOND, cleared), (20 * SECOND, output), (30 * SECOND, cleared)];
    assert_eq!(found_on((20, 4), "rm", &pieces), [(0, "$ rm x".into()), (20 * SECOND, "$ rm x".into())]);
}

#[test]
fn the_same_line_twice_is_found_twice_with_its_times() {
    let pieces: [(u64, &[u8]); 3] = [(1, b"$ rm x\r\n"), (2, b"$ rm"), (3, b" x\r\n$ ")];
    assert_eq!(found_on((20, 4), "rm x", &pieces), [(1, "$ rm x".into()), (3, "$ rm x".into())]);
    let line = format!("{}\r\n", "log line".repeat(2));
    let many = line.repeat(1000);
    assert_eq!(found_on((20, 4), "^log linelog", &[(7, many.as_bytes())]).len(), 1000);
}

#[test]
fn a_window_change_costs_nothing_of_what_was_seen() {
    let pattern = Pattern::new("secret", false, false).unwrap();
    let mut found = Vec::new();
    let mut sink =
        |_: u64, line: &[u8], _: Range<usize>| found.push(String::from_utf8_lossy(line).into_owned());
    let search = &mut Search { pattern: &pattern, sink: &mut sink };
    let mut seen = Seen::new(20, 4);
    seen.push(b"my secret\r\n\n\n", 0, search);
    seen.resize(3, 1, search);
    seen.push(b"\x1b[2J", 0, search);
    seen.resize(0, u32::MAX, search);
    seen.push(b"secret two", 0, search);
    seen.finish(search);
    assert_eq!(found, ["my secret", "secret two"]);
}

/// A screen is as large as the model allows, repetitions are as long as a sequence can say: time and memory stay in proportion to
/// the output.
#[test]
fn repetitions_cost_no_more_than_the_screen() {
    let output = "x\x1b[65535b\x1b[65535S\x1b[65535L\x1b[65535@".repeat(200);
    assert!(!found_on((80, 24), "xxx", &[(0, output.as_bytes())]).is_empty());
}

/// The row below the last is a new one: what stands in the last, which scrolls away, says nothing of it.
#[test]
fn what_wraps_below_the_last_row_is_seen_though_that_row_begins_alike() {
    let found =
        found_on((4, 1), ".+", &[(0, b"b ab\rc ".as_slice()), (0, b"\x1b[H"), (0, b"b abb"), (0, b"\rc")]);
    assert!(found.iter().any(|(_, line)| line == "b abb"), "{found:?}");
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-c ]{1,30}",
        8 => Just("\r\n".to_owned()),
        2 => "[a-e]{60,90}\r\n",
        2 => Just("\x1b[1;31mred\x1b[0m".to_owned()),
        1 => Just("\t".to_owned()),
        1 => Just("\u{6f22}e\u{e9}".to_owned()),
        1 => Just("\x1b]0;title\x07".to_owned()),
        1 => Just("\x1b[?2004h\x1b[K".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just("\n".to_owned()),
        1 => "\x1b\\[[1-5]?;?[1-9]?[ABCDHJKLMPSTX@Gdrb]",
        1 => "\x1b\\[\\?(1049|7|6|25|1047|1048)[hl]",
        1 => "\x1b[78McD]",
        1 => "[\x08\x0e\x0f]",
        1 => "[a-c]\x08[a-c ]",
    ]
}

/// Text of which most is plain, so that the shortcut is taken and left often.
fn session() -> impl Strategy<Value = String> {
    let plain = "([a-e ]{0,10}(_\x08a|b\x08b)?){0,5}".prop_map(|line| format!("{line}\r\n"));
    let stretch = prop_oneof![
        3 => prop::collection::vec(plain, 5..40).prop_map(|lines| lines.concat()),
        2 => prop::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat()),
    ];
    prop::collection::vec(stretch, 1..5).prop_map(|stretches| stretches.concat())
}

/// What full-screen programs do: rows painted over others, here and there.
fn painted() -> impl Strategy<Value = String> {
    let place = (1_u32..9, 1_u32..60).prop_map(|(row, column)| format!("\x1b[{row};{column}H"));
    let stretch = prop_oneof![
        6 => "[a-c ]{1,60}",
        4 => place,
        2 => piece(),
        1 => Just("\x1b[4h".to_owned()),
        1 => Just("\x1b[4l".to_owned()),
        1 => Just("\x1b(0".to_owned()),
        1 => Just("\x1b(B".to_owned()),
    ];
    prop::collection::vec(stretch, 1..60).prop_map(|stretches| stretches.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What the emulator finds on its own, character by character, is found just so where plain text goes past it. That looks at
    /// a line when it ends, so that the start of a line that grows on later may be found as well.
    #[test]
    fn the_shortcut_for_plain_text_misses_nothing(output in session(), columns in 10_u32..60, rows in 1_u32..8) {
        let whole = found_on((columns, rows), ".+", &[(0, output.as_bytes())]);
        let pieces: Vec<(u64, &[u8])> = output.as_bytes().chunks(WORTH_IT - 1).map(|piece| (0, piece)).collect();
        let emulated = found_on((columns, rows), ".+", &pieces);
        let lines = |found: Vec<(u64, String)>| -> BTreeSet<String> {
            // Blanks at the right edge before a wide character that wraps are the terminal's, not the program's.
            let parts = |line: String| line.split('\u{6f22}').map(|part| part.trim_end().to_owned()).collect::<Vec<_>>();
            found.into_iter().map(|(_, line)| parts(line).join("\u{6f22}")).collect()
        };
        let (whole, emulated) = (lines(whole), lines(emulated));
        prop_assert!(emulated.is_subset(&whole), "{:?} of {:?}", emulated.difference(&whole), whole);
        for line in whole.difference(&emulated) {
            prop_assert!(emulated.iter().any(|longer| longer.starts_with(line)), "{:?} in {:?}", line, emulated);
        }
    }

    /// Runs of characters that fit on their row are printed at once. Byte by byte there are none, and just the same is found.
    #[test]
    fn characters_printed_at_once_are_seen_as_if_they_came_one_by_one(
        output in painted(),
        pattern in prop_oneof![Just(".+"), Just("[a-c]+$"), Just("^a"), Just("b c"), Just("cc*a")],
        columns in 10_u32..60,
        rows in 1_u32..8,
    ) {
        // Times that pass while something stands there, but not within a piece.
        let at = |place: usize| place as u64 / 400 * SECOND;
        let pieces: Vec<(u64, &[u8])> =
            output.as_bytes().chunks(400).enumerate().map(|(at_piece, piece)| (at(at_piece * 400), piece)).collect();
        let single: Vec<(u64, &[u8])> =
            output.as_bytes().chunks(1).enumerate().map(|(place, byte)| (at(place), byte)).collect();
        let size = (columns, rows);
        prop_assert_eq!(found_on(size, pattern, &pieces), found_on(size, pattern, &single));
    }

    #[test]
    fn nothing_that_a_program_prints_makes_it_fail(
        output in prop::collection::vec(any::<u8>(), 0..500),
        sizes in prop::collection::vec((0_u32..70, 0_u32..40), 1..4),
    ) {
        let pattern = Pattern::new("a", false, false).unwrap();
        let mut sink = |_: u64, _: &[u8], _: Range<usize>| {};
        let search = &mut Search { pattern: &pattern, sink: &mut sink };
        let mut seen = Seen::new(5, 5);
        for (columns, rows) in sizes {
            seen.push(&output, 0, search);
            seen.resize(columns, rows, search);
        }
        seen.finish(search);
    }

    #[test]
    fn no_sequence_makes_it_fail(output in prop::collection::vec(piece(), 0..100), sizes in prop::collection::vec((0_u32..12, 0_u32..6), 1..6)) {
        let output = output.concat();
        let pattern = Pattern::new("a", false, false).unwrap();
        let mut sink = |_: u64, _: &[u8], _: Range<usize>| {};
        let search = &mut Search { pattern: &pattern, sink: &mut sink };
        let mut seen = Seen::new(5, 5);
        for piece in output.as_bytes().chunks(output.len() / sizes.len() + 1).zip(sizes.iter().cycle()) {
            let (piece, (columns, rows)) = piece;
            seen.push(piece, 0, search);
            seen.resize(*columns, *rows, search);
        }
        seen.finish(search);
    }
}
