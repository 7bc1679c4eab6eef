#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| wfvae_fuzz::latent_file::run_decode(input));
