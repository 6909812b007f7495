def time_split(table, at):
    return table[table["pickup_at"] < at], table[table["pickup_at"] >= at]
