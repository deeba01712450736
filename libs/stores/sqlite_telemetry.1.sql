-- Telemetry as columns: one row holds one batch of one service instance, so that a write costs one row and not one per
-- point, and a read hands whole columns to numpy. A digest of the batch makes a second write of it harmless.
CREATE TABLE progress (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    watermark_ns INTEGER NOT NULL,  -- greatest event time of metrics, logs and spans
    horizon_ns INTEGER NOT NULL,    -- telemetry before it has been pruned
    generation INTEGER NOT NULL     -- counts up when ids of services, series or calls are given up
);
INSERT INTO progress VALUES (1, 0, 0, 0);
CREATE TABLE services (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL
);
CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service INTEGER NOT NULL,
    instance TEXT NOT NULL,
    name TEXT NOT NULL,
    statistic TEXT NOT NULL,
    unit TEXT NOT NULL,
    attributes TEXT NOT NULL,       -- JSON, keys sorted
    used_until_ns INTEGER NOT NULL, -- no chunk holds a later point; moved in steps of ten minutes
    UNIQUE (service, name, instance, statistic, unit, attributes)
);
CREATE TABLE metric_chunks (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    service INTEGER NOT NULL,
    min_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,          -- points
    series BLOB NOT NULL,           -- int32 series id per point
    timestamps BLOB NOT NULL,       -- int64 unix nanoseconds per point
    points BLOB NOT NULL            -- float64 per point
);
CREATE INDEX metric_chunks_by_time ON metric_chunks (max_ns, min_ns, service);
CREATE TABLE log_chunks (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    service INTEGER NOT NULL,
    min_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,          -- records
    instance TEXT NOT NULL,
    columns BLOB NOT NULL,          -- sqlite_columns.LOG_ROW per record
    texts BLOB NOT NULL             -- deflated JSON: bodies, loggers, users, attribute sets
);
CREATE INDEX log_chunks_by_time ON log_chunks (max_ns, min_ns, service);
CREATE TABLE span_chunks (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    service INTEGER NOT NULL,
    min_ns INTEGER NOT NULL,        -- of the spans' ends
    max_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,          -- spans
    instance TEXT NOT NULL,
    version TEXT NOT NULL,
    columns BLOB NOT NULL,          -- sqlite_columns.SPAN_ROW per span
    ids BLOB NOT NULL,              -- sqlite_columns.SPAN_IDS per span
    words TEXT NOT NULL,            -- JSON: names, peers, users
    details BLOB NOT NULL           -- deflated JSON: attribute sets, exceptions
);
CREATE INDEX span_chunks_by_time ON span_chunks (max_ns, min_ns, service);
-- One row per span: unique by (trace id, span id), and where to find it. The minute of its end comes first, so that
-- new spans touch few pages and retention deletes a range.
CREATE TABLE span_keys (
    minute INTEGER NOT NULL,
    key BLOB NOT NULL,              -- trace id, span id
    chunk INTEGER NOT NULL,
    position INTEGER NOT NULL,
    service INTEGER NOT NULL,
    call INTEGER NOT NULL,          -- calls.id, 0 when the span is not a call
    failed INTEGER NOT NULL,
    PRIMARY KEY (minute, key)
) WITHOUT ROWID;
-- Server and consumer spans whose parent has not arrived.
CREATE TABLE waiting (
    key BLOB NOT NULL,              -- trace id, parent span id
    service INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    failed INTEGER NOT NULL
);
CREATE INDEX waiting_by_key ON waiting (key);
CREATE INDEX waiting_by_time ON waiting (end_ns);
-- Client and producer spans as the caller names the callee (peer, span name) ...
CREATE TABLE calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    caller TEXT NOT NULL,
    peer TEXT NOT NULL,
    name TEXT NOT NULL,
    calls INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    UNIQUE (caller, peer, name)
);
-- ... and the services that were found to answer them.
CREATE TABLE callees (
    call INTEGER NOT NULL,
    callee TEXT NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    PRIMARY KEY (call, callee)
) WITHOUT ROWID;
CREATE TABLE changes (
    id TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    value TEXT NOT NULL             -- JSON
) WITHOUT ROWID;
CREATE INDEX changes_by_time ON changes (at_ns);
