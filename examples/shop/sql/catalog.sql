CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY,
    sku TEXT NOT NULL,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    price_cents INTEGER NOT NULL,
    tier TEXT,
    description TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS reviews (
    product_id INTEGER NOT NULL,
    stars INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS products_by_name ON products (name);
CREATE INDEX IF NOT EXISTS products_by_category ON products (category, id);
CREATE INDEX IF NOT EXISTS reviews_by_product ON reviews (product_id);
