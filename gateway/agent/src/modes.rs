//! Terminal modes as SSH encodes them (RFC 4254 section 8), applied to a terminal's settings.
//!
//! Pure, on a copy of the settings. Unknown modes are skipped, as the RFC asks; what is left out keeps its value. Line speeds
//! are skipped too: a pseudo-terminal has none, and a speed of 0 would hang it up.

use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios};

/// The end of the list.
const TTY_OP_END: u8 = 0;
/// From here on encodings are not defined: reading stops.
const FIRST_UNDEFINED: u8 = 160;
/// A character that is switched off, on the wire and in the kernel (`_POSIX_VDISABLE`).
const OFF_ON_WIRE: u32 = 255;
const OFF: u8 = 0;

/// Applies an encoded list to `settings`. A list that is cut short counts as far as it goes.
pub(crate) fn apply(modes: &[u8], settings: &mut Termios) {
    let mut rest = modes;
    while let Some((&opcode, tail)) = rest.split_first() {
        if opcode == TTY_OP_END || opcode >= FIRST_UNDEFINED {
            return;
        }
        let Some((value, tail)) = tail.split_first_chunk::<4>() else { return };
        rest = tail;
        set(settings, opcode, u32::from_be_bytes(*value));
    }
}

fn set(settings: &mut Termios, opcode: u8, value: u32) {
    if let Some(index) = character(opcode) {
        let code = if value == OFF_ON_WIRE { OFF } else { u8::try_from(value).unwrap_or(OFF) };
        if let Some(slot) = index {
            settings.special_codes[slot] = code;
        }
        return;
    }
    let on = value != 0;
    match opcode {
        30 => settings.input_modes.set(InputModes::IGNPAR, on),
        31 => settings.input_modes.set(InputModes::PARMRK, on),
        32 => settings.input_modes.set(InputModes::INPCK, on),
        33 => settings.input_modes.set(InputModes::ISTRIP, on),
        34 => settings.input_modes.set(InputModes::INLCR, on),
        35 => settings.input_modes.set(InputModes::IGNCR, on),
        36 => settings.input_modes.set(InputModes::ICRNL, on),
        37 => settings.input_modes.set(InputModes::IUCLC, on),
        38 => settings.input_modes.set(InputModes::IXON, on),
        39 => settings.input_modes.set(InputModes::IXANY, on),
        40 => settings.input_modes.set(InputModes::IXOFF, on),
        41 => settings.input_modes.set(InputModes::IMAXBEL, on),
        // RFC 8160
        42 => settings.input_modes.set(InputModes::IUTF8, on),
        50 => settings.local_modes.set(LocalModes::ISIG, on),
        51 => settings.local_modes.set(LocalModes::ICANON, on),
        52 => settings.local_modes.set(LocalModes::XCASE, on),
        53 => settings.local_modes.set(LocalModes::ECHO, on),
        54 => settings.local_modes.set(LocalModes::ECHOE, on),
        55 => settings.local_modes.set(LocalModes::ECHOK, on),
        56 => settings.local_modes.set(LocalModes::ECHONL, on),
        57 => settings.local_modes.set(LocalModes::NOFLSH, on),
        58 => settings.local_modes.set(LocalModes::TOSTOP, on),
        59 => settings.local_modes.set(LocalModes::IEXTEN, on),
        60 => settings.local_modes.set(LocalModes::ECHOCTL, on),
        61 => settings.local_modes.set(LocalModes::ECHOKE, on),
        62 => settings.local_modes.set(LocalModes::PENDIN, on),
        70 => settings.output_modes.set(OutputModes::OPOST, on),
        71 => settings.output_modes.set(OutputModes::OLCUC, on),
        72 => settings.output_modes.set(OutputModes::ONLCR, on),
        73 => settings.output_modes.set(OutputModes::OCRNL, on),
        74 => settings.output_modes.set(OutputModes::ONOCR, on),
        75 => settings.output_modes.set(OutputModes::ONLRET, on),
        90 if on => character_size(settings, ControlModes::CS7),
        91 if on => character_size(settings, ControlModes::CS8),
        92 => settings.control_modes.set(ControlModes::PARENB, on),
        93 => settings.control_modes.set(ControlModes::PARODD, on),
        _ => {}
    }
}

fn character_size(settings: &mut Termios, size: ControlModes) {
    settings.control_modes.remove(ControlModes::CSIZE);
    settings.control_modes.insert(size);
}

/// Which control character an encoding stands for; `Some(None)` for one that Linux does not have.
fn character(opcode: u8) -> Option<Option<SpecialCodeIndex>> {
    Some(Some(match opcode {
        1 => SpecialCodeIndex::VINTR,
        2 => SpecialCodeIndex::VQUIT,
        3 => SpecialCodeIndex::VERASE,
        4 => SpecialCodeIndex::VKILL,
        5 => SpecialCodeIndex::VEOF,
        6 => SpecialCodeIndex::VEOL,
        7 => SpecialCodeIndex::VEOL2,
        8 => SpecialCodeIndex::VSTART,
        9 => SpecialCodeIndex::VSTOP,
        10 => SpecialCodeIndex::VSUSP,
        12 => SpecialCodeIndex::VREPRINT,
        13 => SpecialCodeIndex::VWERASE,
        14 => SpecialCodeIndex::VLNEXT,
        16 => SpecialCodeIndex::VSWTC,
        18 => SpecialCodeIndex::VDISCARD,
        // VDSUSP, VFLUSH, VSTATUS
        11 | 15 | 17 => return Some(None),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::termios::tcgetattr;

    fn fresh() -> Termios {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY);
        tcgetattr(master.unwrap()).unwrap()
    }

    #[test]
    fn what_the_list_says_is_set_and_what_it_leaves_out_stays() {
        let mut settings = fresh();
        assert!(settings.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON));
        let modes = [
            &[53, 0, 0, 0, 0][..],   // ECHO off
            &[3, 0, 0, 0, 8],        // VERASE ^H
            &[1, 0, 0, 0, 255],      // VINTR off
            &[129, 0, 0, 0, 0],      // a speed of 0: skipped
            &[11, 0, 0, 0, 25],      // VDSUSP: not here
            &[42, 0, 0, 0, 1],       // IUTF8
            &[90, 0, 0, 0, 1],       // CS7
            &[0, 51, 0, 0, 0, 0, 0], // the end, and something behind it
        ]
        .concat();
        let speed = settings.output_speed();
        apply(&modes, &mut settings);
        assert!(!settings.local_modes.contains(LocalModes::ECHO));
        assert!(settings.local_modes.contains(LocalModes::ICANON), "behind the end");
        assert_eq!(settings.special_codes[SpecialCodeIndex::VERASE], 8);
        assert_eq!(settings.special_codes[SpecialCodeIndex::VINTR], 0);
        assert!(settings.input_modes.contains(InputModes::IUTF8));
        assert_eq!(settings.control_modes & ControlModes::CSIZE, ControlModes::CS7);
        assert_eq!(settings.output_speed(), speed);
    }

    proptest! {
        #[test]
        fn any_list_is_taken_as_far_as_it_makes_sense(modes in prop::collection::vec(any::<u8>(), 0..200)) {
            apply(&modes, &mut fresh());
        }
    }
}
