//! Profiles of algorithms: named choices, because a list of names in every gateway would grow old unseen.

use containerssh_config::{Cipher, Kex, Mac, Ssh};
use containerssh_crds::AlgorithmProfile;

/// Sets the lists of a profile, best first.
pub(super) fn choose(ssh: &mut Ssh, profile: AlgorithmProfile) {
    match profile {
        // What the gateway's own defaults are for.
        AlgorithmProfile::Modern => {}
        AlgorithmProfile::Compatible => {
            ssh.kex.extend([Kex::EcdhSha2Nistp521, Kex::EcdhSha2Nistp384, Kex::EcdhSha2Nistp256]);
            ssh.macs.extend([Mac::HmacSha2_512, Mac::HmacSha2_256]);
            ssh.ciphers.push(Cipher::Aes192Ctr);
        }
        // SP 800-56A for the curves, SP 800-38D and 38A for the ciphers, FIPS 198-1 for the codes.
        AlgorithmProfile::NIST => {
            ssh.kex = vec![Kex::EcdhSha2Nistp384, Kex::EcdhSha2Nistp521, Kex::EcdhSha2Nistp256];
            ssh.ciphers = vec![Cipher::Aes256Gcm, Cipher::Aes128Gcm, Cipher::Aes256Ctr, Cipher::Aes128Ctr];
            ssh.macs = vec![Mac::HmacSha2_512Etm, Mac::HmacSha2_256Etm, Mac::HmacSha2_512, Mac::HmacSha2_256];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(profile: AlgorithmProfile) -> Ssh {
        let mut ssh = Ssh::default();
        choose(&mut ssh, profile);
        ssh
    }

    #[test]
    fn a_compatible_gateway_prefers_what_a_modern_one_offers() {
        let (modern, compatible) = (chosen(AlgorithmProfile::Modern), chosen(AlgorithmProfile::Compatible));
        assert!(compatible.kex.starts_with(&modern.kex) && compatible.kex.len() > modern.kex.len());
        assert!(compatible.ciphers.starts_with(&modern.ciphers) && compatible.macs.starts_with(&modern.macs));
    }

    #[test]
    fn nist_does_not_approve_of_bernsteins_algorithms() {
        let nist = chosen(AlgorithmProfile::NIST);
        assert!(!nist.kex.iter().any(|kex| kex.to_string().contains("25519")));
        assert!(!nist.ciphers.iter().any(|cipher| cipher.to_string().contains("chacha20")));
    }
}
