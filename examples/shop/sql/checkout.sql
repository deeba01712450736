CREATE TABLE IF NOT EXISTS customers (
    id TEXT PRIMARY KEY,
    mail TEXT NOT NULL,
    phone TEXT,
    city TEXT NOT NULL,
    loyalty TEXT
);
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    total_cents INTEGER NOT NULL,
    placed_at REAL NOT NULL
);
