//! Kinds of personal data.

use std::{fmt, sync::Arc};

/// A kind of personal data. Its name is that of an entity in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A person's name, without titles.
    Name,
    /// A telephone number.
    Phone,
    /// A fax number.
    Fax,
    /// An email address.
    Email,
    /// A social security number of the United States.
    Ssn,
    /// A medical record number, or a patient's number.
    Mrn,
    /// A member or policy number of a health plan.
    HealthPlan,
    /// An account number.
    Account,
    /// The number of a certificate or licence.
    License,
    /// A vehicle identification number.
    Vehicle,
    /// A licence plate.
    Plate,
    /// A serial number or address of a device.
    Device,
    /// A web address.
    Url,
    /// An IP address.
    IpAddress,
    /// A date of birth.
    Dob,
    /// Any other date that is more exact than a year.
    Date,
    /// A street address.
    Address,
    /// A city, county or facility.
    Location,
    /// A postal code.
    Zip,
    /// An age, if it is above 89 or the options ask for all.
    Age,
    /// Any other identifying number or code.
    OtherId,
    /// A payment card number.
    Card,
    /// An international bank account number.
    Iban,
    /// A password, API key, token or private key.
    Secret,
    /// A kind that a recognizer of the policy names.
    Custom(Arc<str>),
}

/// The kinds that the detector knows, with their names.
const NAMES: [(Kind, &str); 24] = [
    (Kind::Name, "NAME"),
    (Kind::Phone, "PHONE"),
    (Kind::Fax, "FAX"),
    (Kind::Email, "EMAIL"),
    (Kind::Ssn, "SSN"),
    (Kind::Mrn, "MRN"),
    (Kind::HealthPlan, "HEALTH_PLAN"),
    (Kind::Account, "ACCOUNT"),
    (Kind::License, "LICENSE"),
    (Kind::Vehicle, "VEHICLE"),
    (Kind::Plate, "PLATE"),
    (Kind::Device, "DEVICE"),
    (Kind::Url, "URL"),
    (Kind::IpAddress, "IP_ADDRESS"),
    (Kind::Dob, "DOB"),
    (Kind::Date, "DATE"),
    (Kind::Address, "ADDRESS"),
    (Kind::Location, "LOCATION"),
    (Kind::Zip, "ZIP"),
    (Kind::Age, "AGE"),
    (Kind::OtherId, "OTHER_ID"),
    (Kind::Card, "CARD"),
    (Kind::Iban, "IBAN"),
    (Kind::Secret, "SECRET"),
];

impl Kind {
    /// Returns the kind's name, such as `HEALTH_PLAN`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Custom(name) => name,
            kind => NAMES.iter().find(|(known, _)| known == kind).map_or("OTHER_ID", |(_, name)| name),
        }
    }

    /// Returns the kind of a name. A name that the detector does not know is a custom kind.
    pub fn new(name: &str) -> Self {
        NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or_else(|| Self::Custom(name.into()), |(kind, _)| kind.clone())
    }

    /// Returns the kinds that the detector finds without custom recognizers.
    pub fn built_in() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(kind, _)| kind.clone())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
