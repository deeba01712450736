-- Incident documents in sections, one row each; `incidents` carries what searches filter and order by.
CREATE TABLE incidents (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    number TEXT,                -- NULL until the core section is there, as are the columns below
    state TEXT,
    priority TEXT,
    opened_us INTEGER,          -- unix microseconds
    confirmed INTEGER NOT NULL DEFAULT 0  -- root cause: 2 by a person, 1 by a verified fix, 0 not
);
CREATE INDEX incidents_by_number ON incidents (number);
CREATE INDEX incidents_by_opened ON incidents (opened_us);
CREATE TABLE sections (
    incident_id TEXT NOT NULL,
    section TEXT NOT NULL,
    version INTEGER NOT NULL,
    value TEXT NOT NULL,        -- JSON
    PRIMARY KEY (incident_id, section)
) WITHOUT ROWID;
CREATE TABLE incident_services (
    service TEXT NOT NULL,
    incident INTEGER NOT NULL,
    PRIMARY KEY (service, incident)
) WITHOUT ROWID;
CREATE INDEX incident_services_by_incident ON incident_services (incident);
CREATE TABLE fingerprints (
    token TEXT NOT NULL,
    incident INTEGER NOT NULL,
    PRIMARY KEY (token, incident)
) WITHOUT ROWID;
CREATE INDEX fingerprints_by_incident ON fingerprints (incident);
CREATE VIRTUAL TABLE incident_text USING fts5 (
    title, services, hypotheses, root_cause, logs, comments, tokenize = "unicode61 remove_diacritics 2"
);
CREATE TABLE numbers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL UNIQUE
);
CREATE TABLE states (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;
