CREATE TABLE IF NOT EXISTS stock (
    product_id INTEGER PRIMARY KEY,
    available INTEGER NOT NULL,
    reserved INTEGER NOT NULL DEFAULT 0,
    counted_at REAL
);
CREATE TABLE IF NOT EXISTS reservations (
    order_id TEXT NOT NULL,
    product_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
