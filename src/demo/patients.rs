//! Fictitious patients from a seeded generator, the same on every machine.
//!
//! They cannot be real. Telephone numbers end in 555-0100 to 555-0199, which are reserved for fiction. Social security
//! numbers begin with 666, or with 9 and a group below 50; neither is ever issued. Mail addresses are at `example.org`
//! and similar domains (RFC 2606), IP addresses are reserved for documentation (RFC 5737, RFC 3849), ZIP codes begin
//! with 000 to 004, and the towns do not exist.
//!
//! They are as awkward as real data: separators, quotes and line ends within fields, letters of many scripts, composed
//! and combining accents, leading zeros, missing values, and the formats of several source systems. The members of a
//! household write their telephone number in different ways: their tokens share the match part, and each comes back byte
//! for byte.

use unicode_normalization::UnicodeNormalization;

/// The number of patients in the shipped file.
pub const PATIENTS: usize = 1_000;
/// The seed of the shipped file.
pub const SEED: u64 = 1_996;

/// A column of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatientColumn {
    /// The heading.
    pub name: &'static str,
    /// The kind of its values; `None` if they identify nobody and stay as they are.
    pub kind: Option<&'static str>,
}

const fn column(name: &'static str, kind: &'static str) -> PatientColumn {
    PatientColumn { name, kind: Some(kind) }
}

/// The columns of the file, in order.
pub const COLUMNS: [PatientColumn; 14] = [
    column("mrn", "MRN"),
    column("name", "NAME"),
    column("dob", "DOB"),
    column("ssn", "SSN"),
    column("phone", "PHONE"),
    column("email", "EMAIL"),
    column("address", "ADDRESS"),
    column("zip", "ZIP"),
    column("health_plan", "HEALTH_PLAN"),
    column("account", "ACCOUNT"),
    column("device", "DEVICE"),
    column("last_login_ip", "IP_ADDRESS"),
    column("admitted", "DATE"),
    PatientColumn { name: "diagnosis", kind: None },
];

/// One patient: a field for each of [`COLUMNS`].
pub type Patient = [String; COLUMNS.len()];

#[rustfmt::skip]
const GIVEN_NAMES: [&str; 40] = [
    "Ada", "Aino", "Amara", "Ana", "Björn", "Carmen", "Chidi", "Dilşad", "Elif", "Émile", "Fatima", "Gwen",
    "Hana", "Ingrid", "Iván", "Jörg", "José", "Kofi", "Lea", "Lin", "Łucja", "Mateo", "Mei", "Nia", "Noah",
    "Oisín", "Olga", "Priya", "Quentin", "Rosa", "Søren", "Tomáš", "Uma", "Víctor", "Wei", "Ximena", "Yara",
    "Zoë", "Δανάη", "美咲",
];

#[rustfmt::skip]
const FAMILY_NAMES: [&str; 40] = [
    "Abara", "Ångström", "Brandt", "Castellanos", "Çelik", "D'Angelo", "Dvořák", "Eriksen", "Fontaine",
    "García", "Große", "Haddad", "Ibarra", "Jensen", "Kowalczyk", "Larsen", "Lê", "Mbeki", "Müller", "Nakamura",
    "Nguye\u{302}\u{303}n", "Núñez", "O'Hara", "Okafor", "Öztürk", "Papadopoulos", "Quiroga", "Rossi", "Sæther",
    "Singh", "Šimić", "Tanaka", "Ueda", "van der Berg", "Weiß", "Xu", "Yılmaz", "Zamora", "Παππάς", "山田",
];

const NICKNAMES: [&str; 4] = ["Bo", "Chip", "Red", "Sunny"];

#[rustfmt::skip]
const STREETS: [&str; 12] = [
    "Alder Row", "Beacon Hollow", "Calle de los Álamos", "Drovers Way", "Elm Terrace", "Foundry Lane",
    "Große Gasse", "Harbour Steps", "Impasse du Moulin", "Juniper Court", "King's Mews", "Løvstien",
];

/// Towns, each with the first three digits of its ZIP codes.
#[rustfmt::skip]
const TOWNS: [(&str, &str); 8] = [
    ("Ashmere", "000"), ("Bramblewick", "000"), ("Coldwater Bend", "001"), ("Dunmarrow", "001"),
    ("Eastfold", "002"), ("Fernhithe", "003"), ("Greyharbor", "003"), ("Hollin Cross", "004"),
];

const AREA_CODES: [u16; 10] = [206, 212, 303, 312, 404, 415, 503, 617, 713, 808];

/// ICD-10-CM codes of common conditions.
const DIAGNOSES: [&str; 12] =
    ["E11.9", "E78.5", "F41.1", "G43.909", "I10", "I48.91", "J45.909", "K21.9", "M54.50", "N39.0", "R51.9", "Z00.00"];

/// Generates patients. The same seed gives the same patients in every version of this program.
pub fn patients(seed: u64, count: usize) -> Vec<Patient> {
    let mut random = SplitMix64(seed);
    let mut household = 0;
    let patients = (0..count).map(|index| {
        // Members of a household are consecutive, and share a telephone number and an address.
        if !random.one_in(8) {
            household = index;
        }
        patient(index, household, &mut random)
    });
    patients.collect()
}

/// Returns the file: a heading and the patients, as CSV (RFC 4180, with line feeds as line ends).
///
/// # Errors
/// None: it writes to memory.
pub fn csv(patients: &[Patient]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS.map(|column| column.name))?;
    for patient in patients {
        writer.write_record(patient)?;
    }
    writer.into_inner().map_err(|failed| failed.into_error().into())
}

fn patient(index: usize, household: usize, random: &mut SplitMix64) -> Patient {
    let given = random.below(GIVEN_NAMES.len());
    let family = random.below(FAMILY_NAMES.len());
    let (town, zip_area) = TOWNS[household % TOWNS.len()];
    let zip = format!("{zip_area}{:02}", permuted(household, 89));
    [
        mrn(index),
        name(given, family, random),
        date(1930 + random.below(90), random),
        ssn(index, random),
        phone(household, index),
        if random.one_in(12) { String::new() } else { email(given, index) },
        address(household, town),
        if household.is_multiple_of(3) { format!("{zip}-{:04}", permuted(household, 9_973)) } else { zip },
        format!("HP-{:03}-{:07}-{:02}", household % 7, permuted(household, 9_999_991), 1 + index - household),
        format!("{:010}", permuted(index, 9_999_991)),
        if random.one_in(5) { device(index) } else { String::new() },
        ip_address(random),
        if random.one_in(20) { String::new() } else { date(2_019 + random.below(6), random) },
        random.pick(&DIAGNOSES).to_owned(),
    ]
}

fn mrn(index: usize) -> String {
    let number = permuted(index, 99_991);
    match index % 4 {
        0 => format!("{number:08}"),
        1 => format!("MRN{number:07}"),
        2 => format!("mrn-{number:07}"),
        _ => format!("A {number:05}/07"),
    }
}

fn name(given: usize, family: usize, random: &mut SplitMix64) -> String {
    let (given_name, family_name) = (GIVEN_NAMES[given], FAMILY_NAMES[family]);
    if (given + family).is_multiple_of(17) {
        return format!("{given_name} {family_name}").to_uppercase();
    }
    match random.below(10) {
        0 => format!("{family_name}, {given_name}"),
        1 => format!("{given_name} \"{}\" {family_name}", random.pick(&NICKNAMES)),
        2 => format!("{given_name} {family_name}, Jr."),
        3 => format!("{given_name} {}. {family_name}", char::from(b'A' + (random.below(26) as u8))),
        _ => format!("{given_name} {family_name}"),
    }
}

/// Returns a random day of a year. Even days are written in one format, odd days in another.
fn date(year: usize, random: &mut SplitMix64) -> String {
    let (month, day) = (1 + random.below(12), 1 + random.below(28));
    if day.is_multiple_of(2) { format!("{year}-{month:02}-{day:02}") } else { format!("{month:02}/{day:02}/{year}") }
}

fn ssn(index: usize, random: &mut SplitMix64) -> String {
    let area = if random.one_in(2) { 666 } else { 900 + random.below(100) };
    let (group, serial) = (1 + random.below(49), 1 + permuted(index, 9_973));
    if random.one_in(10) { format!("{area}{group:02}{serial:04}") } else { format!("{area}-{group:02}-{serial:04}") }
}

/// Returns the number of a household, as one of its members writes it.
fn phone(household: usize, index: usize) -> String {
    let (area, line) = (AREA_CODES[household / 100 % AREA_CODES.len()], 100 + household % 100);
    match index % 5 {
        0 => format!("({area}) 555-{line:04}"),
        1 => format!("{area}-555-{line:04}"),
        2 => format!("+1 {area} 555 {line:04}"),
        3 => format!("{area}.555.{line:04}"),
        _ => format!("1{area}555{line:04}"),
    }
}

fn email(given: usize, index: usize) -> String {
    // ASCII letters, without accents. Some names have none.
    let letters = GIVEN_NAMES[given].nfd().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase());
    let name: String = letters.collect();
    let name = if name.is_empty() { "patient" } else { &name };
    let domain = ["example.org", "example.com", "example.net"][index % 3];
    match index % 40 {
        // Both are valid: RFC 5321 allows a quoted local part, RFC 6531 non-ASCII letters.
        7 => format!("\"{name}, {index}\"@{domain}"),
        23 => format!("{}.{index}@{domain}", GIVEN_NAMES[given]),
        _ => format!("{name}.{index}@{domain}"),
    }
}

fn address(household: usize, town: &str) -> String {
    let street = STREETS[permuted(household, STREETS.len())];
    let house = 1 + household;
    match household % 9 {
        0 => format!("{house} {street}\nApt {}\n{town}", 1 + household % 30),
        1 => format!("{house} {street}\r\n{town}"),
        2 => format!("c/o \"The Old Mill\", {house} {street}, {town}"),
        3 => format!("{house}/{} {street}, {town}", 1 + household % 12),
        _ => format!("{house} {street}, {town}"),
    }
}

fn device(index: usize) -> String {
    let number = permuted(index, 99_991);
    match index % 3 {
        0 => format!("PM#{number:05}/B"),
        1 => format!("pump {number:05}; rev. \"C\""),
        _ => format!("00{number:05}"),
    }
}

fn ip_address(random: &mut SplitMix64) -> String {
    let host = random.below(256);
    match random.below(5) {
        0 => format!("192.0.2.{host}"),
        1 => format!("198.51.100.{host}"),
        2 => format!("203.0.113.{host}"),
        3 => format!("2001:db8::{:x}", 1 + host),
        _ => format!("2001:DB8:0:{:X}::1", 1 + host),
    }
}

/// Returns a permutation of the numbers below `prime`, if it is prime, as a function of an index below it.
fn permuted(index: usize, prime: usize) -> usize {
    // Any factor works that is not a multiple of the primes in use. This one looks random.
    (index * 7_919 + 1_234) % prime
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). It never changes, unlike
/// the generators of libraries. For fictitious data only.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0. Bounds are far below 2⁶⁴, so the bias does not matter.
    fn below(&mut self, bound: usize) -> usize {
        self.next().checked_rem(bound as u64).unwrap_or(0) as usize
    }

    /// Returns true once in `n` times on average.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.get(self.below(choices.len())).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use masker_core::policy::{Action, Policy, TokenizeRule};
    use masker_types::kind::Value;

    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/patients.csv");

    fn form(rule: TokenizeRule, value: &str) -> String {
        rule.normalizer.form(Value::new(value).unwrap()).into_owned()
    }

    fn shipped() -> Vec<Patient> {
        patients(SEED, PATIENTS)
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The first values of the authors' reference implementation with the seed 1234567.
        let mut random = SplitMix64(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn the_shipped_file_is_up_to_date() {
        let csv = csv(&shipped()).unwrap();
        if std::env::var_os("MASKER_WRITE_PATIENTS").is_some() {
            std::fs::write(SHIPPED, &csv).unwrap();
        }
        let file = std::fs::read(SHIPPED).unwrap();
        assert!(file == csv, "demo/patients.csv differs; run this test with MASKER_WRITE_PATIENTS=1 to update it");
    }

    #[test]
    fn some_values_have_several_spellings_that_match() {
        let policy = Policy::parse(include_str!("../../policies/healthcare-default.toml")).unwrap();
        let mut spellings: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
        let patients = shipped();
        for patient in &patients {
            for (column, value) in COLUMNS.iter().zip(patient).filter(|(_, value)| !value.is_empty()) {
                let Some(kind) = column.kind else { continue };
                let (_, rule) = policy.rule(kind).unwrap();
                let Action::Tokenize(rule) = rule.action else { panic!("{kind} is not tokenized") };
                spellings.entry((kind, form(rule, value))).or_default().insert(value);
            }
        }
        let several = spellings.iter().filter(|((kind, _), spellings)| *kind == "PHONE" && spellings.len() > 1).count();
        assert!(several > 50, "{several}");
    }

    #[test]
    fn no_value_can_be_real() {
        for [_, _, _, ssn, phone, email, _, zip, ..] in shipped() {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            let (ssn, phone) = (digits(&ssn), digits(&phone));
            assert_eq!(ssn.len(), 9);
            assert!(ssn.starts_with("666") || (ssn.starts_with('9') && ssn[3..5] < *"50"), "{ssn}");
            assert!(phone[phone.len() - 7..].starts_with("55501"), "{phone}");
            assert!(email.is_empty() || email.split_once("@example.").is_some(), "{email}");
            assert!(zip[..3] <= *"004", "{zip}");
        }
    }

    #[test]
    fn the_data_is_awkward() {
        let patients = shipped();
        let has = |what: &dyn Fn(&str) -> bool| patients.iter().flatten().filter(|value| what(value)).count();
        for (mark, count) in [
            ("a separator", has(&|value| value.contains(','))),
            ("a quotation mark", has(&|value| value.contains('"'))),
            ("a line feed", has(&|value| value.contains('\n') && !value.contains('\r'))),
            ("a carriage return", has(&|value| value.contains("\r\n"))),
            ("a letter beyond ASCII", has(&|value| !value.is_ascii())),
            ("a combining accent", has(&|value| value.contains('\u{302}'))),
            ("a leading zero", has(&|value| value.starts_with('0'))),
            ("nothing", has(&str::is_empty)),
        ] {
            assert!(count >= 10, "only {count} fields have {mark}");
        }
        let digits = |text: &str| text.chars().rev().filter(char::is_ascii_digit).take(10).collect::<String>();
        let telephones: BTreeSet<String> = patients.iter().map(|patient| digits(&patient[4])).collect();
        assert!(telephones.len() < patients.len() - 50, "households share telephones");
    }
}
