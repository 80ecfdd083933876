//! Patterns of made-up sentences. Braces hold what the generator fills in; see [`crate::made_up`].

/// Sentences with people, places and organizations.
pub const WITH_NAMES: &[&str] = &[
    // Chats and support
    "Hi, my name is {full} and I have a question about my bill.",
    "My name is {first}",
    "my name's {full}, can someone help?",
    "This is {full} calling about the order from {day}.",
    "Hello {first}, thank you for contacting us.",
    "Hi {first},",
    "Dear {tl},",
    "Dear {first} {last}, we received your request on {date}.",
    "Hey {first}! are you coming tonight?",
    "Thanks, {first}",
    "Best regards,\n{full}",
    "Kind regards\n{full}\n{job}\n{org}",
    "Sincerely, {full}",
    "Agent: How can I help?\nCustomer: I am {full}.",
    "{first}: are you there?\n{first}: yes, give me a second",
    "{first}, could you please forward this to {first}?",
    "{first} told me that {first} already left.",
    "I spoke with {full} at {org} on {day}.",
    "Please ask {first} to call me back.",
    "Everyone here calls me {first}.",
    "You can call me {first} or {first}.",
    "The account is under the name {full}.",
    "The card holder is {full}, not {full}.",
    "I would like to register my {kin} {full} on the policy.",
    "my {kin} {first} lost her phone yesterday",
    "Is {first} in today? I need to reach {tl}.",
    "Could you correct the spelling to {full}?",
    "The name on the invoice should read {full}",
    "Forward this to {full} and {full} please.",
    "cc {full}, {full} and {full}",
    "Attn: {full}",
    "From: {full}\nTo: {full}\nSubject: meeting on {day}",
    "Name: {full}\nDate: {date}",
    "Name: {lf}",
    "Customer name: {full} Phone: {num}",
    "Contact {full} ({job}) for details.",
    "{full}\n{job}\n{org}\n{num} {last} Street",
    "{full}\n\n{num} {street}\n {city}",
    "{full}\n{num} {street}\n{city}, {state}",
    "{tl} {num} {street}\n{city}",
    "> {full}\n> {org}\n> {full}\n> {num} {street}\n> {city}",
    "** {full}\n** {org}\n** {num} {street}",
    "{full} lives at {num} {street}, {city}",
    "Here is {first}'s number, {num}.",
    "Here's the address of {first}: {num} {street}",
    "{first} gave {first} the address: {num} {street}",
    "Meet {first} at {street} {num} at noon.",
    "They have four children: {first}, {first}, {first} and {first}.",
    "Our founders are {last}, {last} and {last}.",
    "{last} and {last} were the best of the team.",
    "{first} and {first} got married in {city}.",
    "she called him {first}",
    "We named our baby {first}.",
    "who is {first} {last} and why is everyone talking about her?",
    "why is {first} always late?",
    "i saw {full} in concert last night",
    "have you heard the new {last} song?",
    "Have you read the {last} novel?",
    "A tribute to {full} will be held in {city}.",
    "Written by {full}, directed by {full} and starring {full}.",
    "The film stars {full} and {last}.",
    "The {full} recording is better than the one by {last}.",
    "{full} will give the keynote.",
    "{full} was born in {city} on {date}.",
    "{first} was born on {date}, her maiden name is {last}.",
    "{last} was born in {city}, {country}, and studied in {city}.",
    "\"I am not going,\" said {first} to {first}.",
    "\"We are happy with the result,\" says {last}.",
    "{last}: \"Where were you?\"",
    "{first} shouted: \"Stop!\"",
    "{full}, the {job}, said that the plan failed.",
    "As {full} points out, nobody reads the manual.",
    "according to {last}, sales in {country} rose",
    "{tl} is a {age} year old man from {city}.",
    "{first} works for {org} as an assistant to {full}.",
    "{first} is from {org}",
    "{first} moved from {city} to {city} in 1998.",
    "{org} announced today that {full} will join as {job}.",
    "{org} was founded by {full} in {city}.",
    "{org}, {org} and {org} have offices in {city}.",
    "Founded by {last} and {last}, {org} opened in {country}.",
    "I work at {org} in {city}",
    "My friend lives in {city}",
    "We are moving from {city} to {country} next year.",
    "{country} was a great place to visit!",
    "the flight from {city} to {city} was delayed",
    "Flights to {city} and {city} are cheap in {mon}.",
    "{city}, {state}",
    "RT @user: {full} is my hero #blessed",
    "lol {first} you are so funny",
    "omg {first} {last} just followed me!!!",
    "i love you {first} <3",
    "happy birthday {first}!!",
    "{first} is so cute",
    "wish {first} was here tonight",
    "Watching {full} on TV",
    "ugh {last} missed again, worst striker ever",
    "goal by {last}! {city} leads 2-1",
    "{first} > {first}",
    "go {first} go",
    "Good luck to {full} in {city} tonight!",
    "\\\"Who is there?\\\" asked {first}.\\n",
    "{\"name\": \"{full}\", \"city\": \"{city}\"}",
    "name,city\n{full},{city}\n{full},{city}",
    "{full} <{num}@example.org> wrote:",
    "Signed, {il}",
    "{il} et al. showed the same in 2014.",
    "{lf}",
    "Invoice for {il}, due {date}",
    "Witnesses: {full}; {full}; {lf}",
    "When: {date}\nWhere: {city}\nWho: {full}",
    // Clinical
    "Pt {fi} seen at {fac} on {date}.",
    "Patient: {lf}, DOB {date}, MRN {num}",
    "Patient name: {full}. Attending: {tl}.",
    "Patient {full} was admitted to {fac} on {date} with {cond}.",
    "{tl} reviewed the chart of {full}.",
    "{full} is a {age}-year-old female with {cond}.",
    "{age}yo male, {fi}, w/ {cond}, seen at {fac}",
    "What should be done for a {age}-year-old woman, {full}, with {cond}, treated at {fac} on {date}?",
    "Treatment of {cond} in a {age}-year-old man, {fi}, who was seen at {fac} in {city}?",
    "Is {drug} safe for {fi}, a {age}-year-old with {cond}, followed at {fac}?",
    "pt {first} from {city} w/ hx of {cond}, on {drug}",
    "Discuss {drug} for {full}, {age}, living in {city}, diagnosed with {cond} on {date} (MRN: {num}).",
    "referred by {tl} from {fac} for {cond}",
    "consult notes for {fi}, {fac}, {date}: {cond}, start {drug}",
    "Her {kin}, {full}, brought her to {fac}.",
    "{first} {last} called from {city} about {drug} refills.",
    "Called {kin} ({first}) and left a message.",
    "Dictated by {full}, MD",
    "Seen by {full} RN and {tl}",
    "Nurse {last} gave {drug} at 08:00; {tl} notified.",
    "{tl} at our {city} office ordered labs for {first}.",
    "{fi} has {cond}; last visit at {fac}, {city}, on {date}",
    "Follow up with {full} in two weeks.",
    "{first} denies chest pain. {first} takes {drug} daily.",
    "transferred from {fac} to {fac}",
    "Records were requested from {fac}.",
    "The patient resides in {city} and works for {org}.",
    "{eponym} was ruled out in {full}, and {first} went home.",
    "{full} has {eponym} and takes {drug}.",
    "Does {fi} meet the {eponym}? She lives in {city}.",
    "Guidance on {cond} for {full}, seen in {city} on {date} (phone: {num})?",
    "{full} ({age}) was discharged from {fac} in {city}, {state}.",
];

/// Sentences without names of people.
pub const WITHOUT_NAMES: &[&str] = &[
    "What are the guidelines for {cond} in a {age}-year-old female with {eponym}?",
    "Is {drug} safe in a patient with {eponym} and {cond}?",
    "What is the dose of {drug} for a {age}-year-old male with {cond}?",
    "{eponym} was ruled out.",
    "Rule out {eponym}, {eponym} or {eponym}.",
    "History of {eponym}, {cond}, and {eponym}.",
    "Latest {acro} guidelines for {cond} in elderly patients",
    "Does the {acro} trial support {drug} over {drug}?",
    "Prognosis of {cond} with a {eponym} of 7, diagnosed in 2020",
    "Positive {eponym} in a {age}yo male w/ hx of {cond}",
    "African American male with {cond} and a high {eponym}",
    "Compare {drug} and {drug} in {cond}.",
    "{drug} {num} mg PO BID, {drug} {num} mg daily",
    "Hispanic female, {age}, {cond}, no known allergies.",
    "Use {font} for the headings and {font} for the body.",
    "The document is set in {font} and {font}.",
    "We meet in {mon} or {mon}, on a {day}.",
    "{day} and {day} work for me, {mon} does not.",
    "In {mon} the bill will grant more rights; may we wait?",
    "Mark the box, bill the customer and drop the order.",
    "Grant access to the page, then chase the invoice.",
    "Can I pay the bill with my card at any ATM?",
    "How do I reset the pin of my credit card?",
    "May I speak to an agent, please?",
    "What are the opening hours on {day}?",
    "Words like Grace, Hope and Faith are often capitalized.",
    "Patience and Honor matter more than Wealth.",
    "{org} released a new phone.",
    "{org} and {org} merged in 2011.",
    "Shares of {org} fell 3 percent.",
    "PLEASE SEND ME A NEW CARD",
    "INTRODUCTION TO THE TREATMENT OF {cond}",
    "WHY IS NOBODY ANSWERING MY CALLS",
    "Our Father which art in heaven",
    "the bot is broken again",
    "I can't open the website, it shows error {num}.",
    "Order {num} shipped, tracking {num}.",
    "Status: Open\nPriority: High\nOwner: Support Team",
    "Click Settings, then Privacy, then Export Data.",
    "Python, Java, Ruby and Swift are languages.",
    "fn main() { let mut map = HashMap::new(); }",
    "ERROR {num} TimeoutException in OrderService.process",
    "The Big Problem With Small Apartments",
    "Bring peppers, rice, basil and rosemary.",
    "Read chapter {num} of the User Guide.",
    "The company was founded in {country}.",
    "Flights from {city} were cancelled.",
    "I grew up in {city}, {state}.",
    "lol that was awesome",
    "so tired today, need coffee",
    "New blog post: How To Write Better Tests",
    "God bless you all",
    "Merry Christmas and a happy New Year",
    "He plays the Guitar Solo in the Second Act.",
    "Jazz, Blues and Rock are played at the Royal Festival.",
    "Chief complaint: {cond}. Plan: {drug}, follow up in {mon}.",
    "Allergies: {drug}, {drug}. Meds: {drug} {num} mg.",
    "Assessment and Plan: {cond}, continue {drug}",
    "{cond} Stage III, T{num}, grade 2",
];

/// Diseases, tests, scores and procedures that bear a name.
pub const EPONYMS: &[&str] = &[
    "Crohn's disease", "Parkinson's disease", "Parkinson disease", "Alzheimer's disease", "Alzheimer's",
    "Hodgkin lymphoma", "Hodgkin's lymphoma", "Bell's palsy", "Graves' disease", "Graves disease", "Hashimoto's thyroiditis",
    "Addison's disease", "Cushing's syndrome", "Down syndrome", "Turner syndrome", "Marfan syndrome", "Sjogren's syndrome",
    "Wilson's disease", "Wilson disease", "Huntington's disease", "Huntington disease", "Raynaud's phenomenon", "Barrett's esophagus",
    "Guillain-Barre syndrome", "Ewing sarcoma", "Kaposi sarcoma", "Wilms tumor", "Paget's disease", "Tourette syndrome",
    "Asperger syndrome", "Meniere's disease", "Lyme disease", "Behcet's disease", "Kawasaki disease", "Takotsubo cardiomyopathy",
    "Chaddock reflex", "Babinski sign", "Babinski reflex", "Hoffman sign", "Hoffmann's sign", "Romberg test", "Murphy's sign",
    "McBurney's point", "Homans sign", "Phalen test", "Tinel's sign", "Kernig sign", "Brudzinski sign", "Lachman test",
    "Wells score", "Wells criteria", "Framingham risk score", "Framingham Risk Score", "Gleason score", "Glasgow Coma Scale",
    "Child-Pugh score", "Apgar score", "Ranson criteria", "Duke criteria", "Light's criteria", "Rome IV criteria",
    "Mallampati score", "Hamilton rating scale", "Beck Depression Inventory", "Braden Scale", "Morse Fall Scale",
    "Rockall score", "Epworth Sleepiness Scale", "Fitzpatrick skin type IV", "Likert scale", "Bishop score", "Centor score",
    "Dupuytren's contracture", "Baker's cyst", "Colles fracture", "Jones fracture", "Foley catheter", "Hickman line",
    "Whipple procedure", "Nissen fundoplication", "Heimlich maneuver", "Epley maneuver", "Dix-Hallpike test", "Valsalva maneuver",
    "Roux-en-Y gastric bypass", "Billroth II", "Mohs surgery", "Pap smear", "Papanicolaou test", "Coombs test", "Gram stain",
    "Giemsa stain", "Kaplan-Meier curve", "Cox regression", "Bonferroni correction", "Student's t-test", "Charcot joint",
    "Charcot-Marie-Tooth disease", "Von Willebrand disease", "von Hippel-Lindau disease", "Peyronie's disease",
    "Osgood-Schlatter disease", "Legg-Calve-Perthes disease", "Lou Gehrig's disease", "Creutzfeldt-Jakob disease",
    "Stevens-Johnson syndrome", "Ehlers-Danlos syndrome", "Zollinger-Ellison syndrome", "Wolff-Parkinson-White syndrome",
    "Wernicke encephalopathy", "Korsakoff syndrome", "Still's disease", "Lewy body dementia", "Eisenmenger syndrome",
    "Henoch-Schonlein purpura", "Waldenstrom macroglobulinemia", "Burkitt lymphoma", "Merkel cell carcinoma", "Barthel index",
    "Karnofsky score", "Kellgren-Lawrence grade 3", "Killip class II", "Salter-Harris II fracture", "Bristol Stool Scale",
    "Trendelenburg position", "Fowler position", "Allen test", "Schober test", "Weber test", "Rinne test", "Schirmer test",
    "Sokolow-Lyon criteria", "Ann Arbor stage II", "Clark level III", "Breslow depth", "Moore's law", "Newton's method",
];

/// Conditions.
pub const CONDITIONS: &[&str] = &[
    "hypertension", "type 2 diabetes", "Type 2 Diabetes", "atrial fibrillation", "AFib", "chronic kidney disease", "COPD", "CHF",
    "asthma", "metastatic breast cancer", "stage II colon cancer", "stage 4 lung cancer", "prostate cancer", "deep vein thrombosis",
    "major depressive disorder", "bipolar disorder", "migraine", "epilepsy", "multiple sclerosis", "MS", "HFpEF", "GERD", "CKD",
    "rheumatoid arthritis", "psoriasis", "lupus", "hepatitis C", "pneumonia", "sepsis", "an acute stroke", "UTI", "MRSA",
    "osteoporosis", "gout", "iron deficiency anemia", "hypothyroidism", "obesity", "sleep apnea", "cirrhosis", "pancreatitis",
    "ulcerative colitis", "melanoma", "AML", "CLL", "HIV", "STEMI", "NSTEMI", "CAD", "PTSD", "ADHD", "ALS", "IBS", "BPH", "DVT",
];

/// Drugs.
pub const DRUGS: &[&str] = &[
    "metformin", "Metformin", "lisinopril", "Lisinopril", "apixaban", "Eliquis", "warfarin", "Coumadin", "rivaroxaban", "Xarelto",
    "atorvastatin", "Lipitor", "amiodarone", "Jardiance", "Ozempic", "Humira", "Keytruda", "Zoloft", "Lexapro", "sertraline",
    "amoxicillin", "azithromycin", "prednisone", "gabapentin", "Losartan", "amlodipine", "Plavix", "clopidogrel", "aspirin",
    "albuterol", "insulin", "Lantus", "levothyroxine", "Synthroid", "omeprazole", "Nexium", "ibuprofen", "Tylenol", "Advair",
    "vancomycin", "heparin", "Lovenox", "digoxin", "furosemide", "Lasix", "methotrexate", "Enbrel", "tamoxifen", "Gleevec",
];

/// Names of trials, societies and scores in capitals.
pub const ACRONYMS: &[&str] = &[
    "AHA", "ACC", "ADA", "GOLD", "NCCN", "WHO", "CDC", "FDA", "NICE", "KDIGO", "GUSTO", "ALLHAT", "ASCEND", "SPRINT", "ARISTOTLE",
    "CHADS2", "CHA2DS2-VASc", "HAS-BLED", "MELD", "CURB-65", "BMI", "LDL", "HbA1c", "CRP", "ESR", "TSH", "EKG", "MRI", "CT",
];

/// Typefaces, which are often called after people.
pub const FONTS: &[&str] = &[
    "Garamond", "Baskerville", "Caslon", "Bodoni", "Gill Sans", "Helvetica", "Times New Roman", "Franklin Gothic", "Goudy", "Jenson",
    "Georgia", "Verdana", "Arial", "Courier New", "Palatino", "Cambria", "Calibri", "Lucida", "Rockwell", "Benton Sans",
];

/// Occupations.
pub const JOBS: &[&str] = &[
    "Sales Manager", "Nurse practitioner", "electrician", "Head of Marketing", "software engineer", "Account Executive",
    "welding machine operator", "Librarian", "civil engineer", "Office clerk", "Chief Financial Officer", "chef", "bus driver",
    "Physical therapist", "Paralegal", "Crane and tower operator", "dental hygienist", "Purchasing agent", "carpenter", "Reporter",
    "Fire inspector", "Food preparation worker", "Judge", "Mine safety engineer", "Roofer", "Teacher assistant", "economist",
];

/// Relatives and others.
pub const KIN: &[&str] = &[
    "wife", "husband", "son", "daughter", "mother", "father", "brother", "sister", "partner", "friend", "aunt", "uncle", "boss",
    "colleague", "neighbor", "child",
];

/// Titles before a name.
pub const TITLES: &[&str] = &["Dr.", "Dr.", "Dr.", "Mr.", "Mrs.", "Ms.", "Miss", "Prof.", "Dr", "Mr", "Mrs", "Doctor", "Professor"];

/// First parts of facilities' names.
pub const FACILITY_HEADS: &[&str] = &[
    "St. Mary's", "St. Luke's", "St. John's", "St. Joseph's", "St. Jude", "Mount Sinai", "Mt. Zion", "Memorial", "Mercy",
    "Good Samaritan", "Lakeside", "Riverside", "Westside", "Northside", "General", "County General", "City", "Children's",
    "Sacred Heart", "Holy Cross", "Baptist", "Methodist", "Presbyterian", "Providence", "Valley", "Green Valley", "Cedars-Sinai",
    "Kaiser Permanente", "Johns Hopkins", "Mayo", "Cleveland", "Mass General", "UCLA", "UCSF", "NYU", "NYU Langone", "UPMC", "VA",
    "UW", "Duke", "Stanford", "Emory", "Baylor", "Vanderbilt", "Beth Israel", "Barnes-Jewish", "Rush", "Tufts", "Elmwood", "Oakdale",
];

/// Last parts of facilities' names.
pub const FACILITY_TAILS: &[&str] = &[
    "Hospital", "Hospital", "Hospital", "Clinic", "Clinic", "Medical Center", "Medical Center", "Med Center", "Med Ctr",
    "Health Center", "Health", "Children's Hospital", "General Hospital", "Memorial Hospital", "Nursing Home", "Urgent Care",
    "Cancer Center", "Heart Institute", "University Hospital", "Regional Medical Center", "Med", "Rehab", "Hospice",
];

/// Last parts of organizations' names.
pub const ORGANIZATION_TAILS: &[&str] = &[
    "Inc.", "Inc", "Ltd.", "Ltd", "LLC", "Group", "Corp.", "Corporation", "Technologies", "Systems", "Solutions", "Bank", "Partners",
    "& Sons", "& Company", "Industries", "Labs", "Capital", "Insurance", "Foundation", "University", "Airlines", "Records", "Media",
];

/// Words that organizations' names begin with.
pub const ORGANIZATION_HEADS: &[&str] = &[
    "Acme", "Globex", "Initech", "Northwind", "Contoso", "Vertex", "Quantum", "Blue River", "Open Ledger", "Solaris", "Bright Path",
    "First National", "Pacific", "Atlantic", "Global", "United", "Summit", "Pioneer", "Evergreen", "Silver Lake", "Data Bridge",
    "Opti", "Medi", "Net", "Cloud", "Green", "Fin", "Auto", "Health", "Social", "Open", "Smart", "Geo", "Bio", "Solar",
];

/// Organizations' second parts, joined to a head without a space.
pub const ORGANIZATION_JOINS: &[&str] =
    &["works", "lytics", "hub", "ware", "soft", "ly", "ify", "metrics", "scape", "point", "base", "nation", "logic", "dyne", "tech"];

/// Street words.
pub const STREETS: &[&str] =
    &["Street", "St", "Avenue", "Road", "Lane", "Drive", "Court", "Boulevard", "Way", "Place", "Terrace", "weg", "straat", "gatan"];

/// Months.
pub const MONTHS: &[&str] = &[
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December", "Jan",
    "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec",
];

/// Days.
pub const DAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
