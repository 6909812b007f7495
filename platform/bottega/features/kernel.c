/* The online store's compiled kernel: windows of one entity at a moment, and the joining of its records.

   A record holds n tiles, ascending, and of each state what all events of a tile add up to; then m parts: tiles with
   late events, split by what was known when. An event that became known before its tile closed is on time: together
   they are the part with available 0. A tile without late events has no parts. It is made of columns:

     format, n, m, where, size         of 32 bits each; the parts begin at byte `where`
     tile[n]
     for each state in turn
       additive:  total[n + 1]         running totals, total[0] = 0
       least, greatest, last_at:       value[n], best of each block of 32 tiles
       last:      value[n]
       distinct:  start[n + 1], pool   each tile's different values, ascending, at most cap + 1 of them;
                  from[blocks + 1]     for each block the different values of all tiles up to its end, those with the
                  value, newest        newest tile first, and that tile; at most cap + 1 of them
     tile[m], available[m]
     for each state in turn
       distinct:  start[m + 1], pool
       others:    value[m]

   A column is a byte that says how wide its numbers are (0, 1, 2, 4 or 8 bytes) and whether a base follows, which is
   added to each. The largest number of 1, 2 or 4 bytes stands for the neutral value, that of a tile without events.
   Eight more bytes follow the last column, so that any number may be read as if it were of eight bytes.

   Several records of one entity may hold the same tile; what they hold adds up.

   platform/bottega/features/chunks.py computes the same with numpy; tests hold the two to equality. */

typedef long long word __attribute__((aligned(1)));  /* a record lies anywhere: LMDB aligns to two bytes only */
typedef unsigned long long whole_word;
typedef unsigned long long raw_word __attribute__((aligned(1)));
typedef unsigned char byte;
typedef unsigned short half __attribute__((aligned(1)));
typedef unsigned int single __attribute__((aligned(1)));
typedef __int128 wide;

enum { ADDITIVE, LEAST, GREATEST, LAST_AT, LAST, DISTINCT };
enum { BLOCK = 32, FORMAT = 4, HEADER = 20, PADDING = 8, SQUARE_BITS = 32, MOST_WINDOWS = 64, HAS_BASE = 16 };
enum { DONE, OTHER_FORMAT, NO_MEMORY };
enum { DIVIDE_ONE, DIVIDE_COUNT, DIVIDE_IF_ANY };
enum { EMPTY = -0x7fffffffffffffffLL - 1 };

typedef struct {
  word tile_us, states, windows, features, ttl, unsettled;
  const word *kind, *cap, *neutral, *window;
  const word *numerator, *counted, *of_window, *squares, *divide, *scale;
  const double *fallback;
} Layout;

typedef struct {
  const word *tile, *available;
  const word *const *value;             /* [states] -> [rows]; of a distinct state its start[rows + 1] */
  const word *const *pool;              /* [states], of distinct states only */
} Rows;

typedef struct { byte *bytes; word used, room; } Memory;

extern double sqrt(double);
extern void *realloc(void *, unsigned long);
extern void free(void *);

static word blocks(word n) { return (n + BLOCK - 1) / BLOCK; }

static word least(word one, word other) { return one < other ? one : other; }

/* Room for so many bytes; those already there stay. */
static int reserve(Memory *memory, word bytes) {
  if (bytes <= memory->room) return 1;
  word room = 2 * memory->room > bytes ? 2 * memory->room : bytes;
  byte *grown = realloc(memory->bytes, (unsigned long)room);
  if (!grown) return 0;
  memory->bytes = grown; memory->room = room;
  return 1;
}

void release(byte *bytes) { free(bytes); }

/* ---- Columns ---- */

/* The i-th number stands at `at + i * width`; where all its bits are set, it is `all_set`. */
typedef struct { const byte *at; whole_word mask; word base, all_set, width; } Column;

/* A column of such numbers at `at`. */
static Column column_at(const byte *at, word width, word base, word neutral) {
  static const whole_word masks[9] = {0, 0xff, 0xffff, 0, 0xffffffff, 0, 0, 0, ~0ULL};
  const Column found = {at, masks[width], base, width == 0 ? base : width == 8 ? -1 : neutral, width};
  return found;
}

/* The column at `*at`, which then stands behind it. */
static Column column(const byte **at, word count, word neutral) {
  const byte head = *(*at)++;
  word base = 0;
  if (head & HAS_BASE) { base = *(const word *)*at; *at += sizeof(word); }
  const Column found = column_at(*at, head & (HAS_BASE - 1), base, neutral);
  *at += count * found.width;
  return found;
}

static Column column_of(const word *values) { return column_at((const byte *)values, 8, 0, 0); }

static word get(const Column *column, word i) {
  const whole_word raw = *(const raw_word *)(column->at + i * column->width) & column->mask;
  return raw == column->mask ? column->all_set : column->base + (word)raw;
}

static int width_of(whole_word largest) {
  return largest < 0xff ? 1 : largest < 0xffff ? 2 : largest < 0xffffffff ? 4 : 8;
}

enum { COLUMN = 1 + sizeof(word) };     /* bytes of a column beside its numbers, at most */

/* Write a column where `out` has room; returns where it ends. */
static byte *write_column(const word *value, word count, word neutral, byte *out) {
  word low = 0, high = 0, some = 0;
  int same = 1;
  for (word i = 0; i < count; i++) {
    same &= value[i] == value[0];
    if (value[i] == neutral) continue;
    if (!some || value[i] < low) low = value[i];
    if (!some || value[i] > high) high = value[i];
    some = 1;
  }
  int width = width_of((whole_word)high - (whole_word)low);
  word base = low >= 0 && width_of(high) == width ? 0 : low;
  if (width == 8) base = 0;
  if (same) { width = 0; base = count ? value[0] : 0; }
  *out++ = (byte)(width | (base ? HAS_BASE : 0));
  if (base) { *(word *)out = base; out += sizeof(word); }
  for (word i = 0; i < count && width; i++, out += width) {
    const whole_word raw = value[i] == neutral ? ~0ULL : (whole_word)value[i] - (whole_word)base;
    switch (width) {
      case 1: *out = (byte)raw; break;
      case 2: *(half *)out = (half)raw; break;
      case 4: *(single *)out = (single)raw; break;
      default: *(word *)out = value[i];
    }
  }
  return out;
}

/* The first of n ascending numbers that is not below `bound`. */
static word position(const Column *column, word n, word bound) {
  word low = 0, high = n;
  while (low < high) {
    word middle = (low + high) / 2;
    if (get(column, middle) < bound) low = middle + 1; else high = middle;
  }
  return low;
}

/* The columns of one state: of a distinct one `value` holds the starts in the pool. */
typedef struct { Column value, pool, from, listed, newest; } State;

static void whole_state(const Layout *layout, word s, word n, const byte **at, State *state) {
  const word kind = layout->kind[s], more = kind == ADDITIVE || kind == DISTINCT ? 1 : kind == LAST ? 0 : blocks(n);
  state->value = column(at, n + more, layout->neutral[s]);
  if (kind != DISTINCT) return;
  state->pool = column(at, get(&state->value, n), EMPTY);
  state->from = column(at, blocks(n) + 1, EMPTY);
  state->listed = column(at, get(&state->from, blocks(n)), EMPTY);
  state->newest = column(at, get(&state->from, blocks(n)), EMPTY);
}

static void part_state(const Layout *layout, word s, word m, const byte **at, State *state) {
  state->value = column(at, m + (layout->kind[s] == DISTINCT), layout->neutral[s]);
  if (layout->kind[s] == DISTINCT) state->pool = column(at, get(&state->value, m), EMPTY);
}

static word better(word kind, word one, word other) {
  return kind == LEAST ? (one < other ? one : other) : (one > other ? one : other);
}

static void take_last(word *last_at, word *last, word at, word value) {
  if (at > *last_at || (at == *last_at && value > *last)) { *last_at = at; *last = value; }
}

/* ---- A set of values, up to a limit ---- */

typedef struct { word *slot, size, count, most; } Set;

static word set_size(word entries) {
  word size = 2;
  while (size < 2 * (entries + 1)) size *= 2;
  return size;
}

static void clear(Set *set) {
  set->count = 0;
  for (word i = 0; i < set->size; i++) set->slot[i] = EMPTY;
}

/* Whether the value is new to the set and was added: none is once it holds `most`. */
static int add(Set *set, word value) {
  if (set->count >= set->most) return 0;
  word at = (word)(((whole_word)value * 0x9e3779b97f4a7c15ULL) >> 32) & (set->size - 1);
  while (set->slot[at] != EMPTY && set->slot[at] != value) at = (at + 1) & (set->size - 1);
  if (set->slot[at] == value) return 0;
  set->slot[at] = value; set->count++;
  return 1;
}

/* Add what row i has in its pool. */
static void add_row_values(Set *set, const State *state, word i) {
  const word end = get(&state->value, i + 1);
  for (word v = get(&state->value, i); v < end; v++) add(set, get(&state->pool, v));
}

/* ---- Reading ---- */

/* What a record has for a moment. All events of tiles[0 .. known) had arrived; of tiles[known .. end) some had not. */
typedef struct {
  word n, m, known, end, part;
  Column tile, part_tile, available;
  const State *whole;
  const byte *parts;
} Share;

static Share share_of(const Layout *layout, const byte *record, word now, word at_us, State *states) {
  const single *header = (const single *)record;
  const byte *at = record + HEADER, *part = record + header[3];
  Share share = {0};
  share.n = header[1]; share.m = header[2];
  share.tile = column(&at, share.n, EMPTY);
  share.whole = states;
  for (word s = 0; s < layout->states; s++) whole_state(layout, s, share.n, &at, states + s);
  share.known = share.end = position(&share.tile, share.n, now);
  share.part = share.m;
  if (!share.m) return share;
  share.part_tile = column(&part, share.m, EMPTY);
  share.available = column(&part, share.m, EMPTY);
  share.parts = part;
  word p = position(&share.part_tile, share.m, now - layout->unsettled);
  for (; p < share.m && get(&share.part_tile, p) < now; p++)
    if (get(&share.available, p) > at_us) {
      share.known = position(&share.tile, share.end, get(&share.part_tile, p));
      share.part = position(&share.part_tile, share.m, get(&share.part_tile, p));
      break;
    }
  return share;
}

/* The best of values [begin, end); those of the blocks follow the n values. */
static word best_between(word kind, word neutral, const Column *value, word n, word begin, word end) {
  word found = neutral;
  while (begin < end && begin % BLOCK) found = better(kind, found, get(value, begin++));
  for (; begin + BLOCK <= end; begin += BLOCK) found = better(kind, found, get(value, n + begin / BLOCK));
  while (begin < end) found = better(kind, found, get(value, begin++));
  return found;
}

/* The newest tile in [begin, end) with a value, or -1. */
static word newest_with_value(const Column *value, word n, word neutral, word begin, word end) {
  while (end > begin) {
    const word whole = end % BLOCK == 0 && end - BLOCK >= begin;
    if (get(value, whole ? n + end / BLOCK - 1 : end - 1) == neutral) end -= whole ? BLOCK : 1;
    else if (get(value, end - 1) != neutral) return end - 1;
    else end--;
  }
  return -1;
}

/* Add the tiles of which all is known to totals[state * windows + w]. */
static void add_known(const Layout *layout, const Share *share, word now, word *totals, word *newest) {
  const word W = layout->windows, n = share->n, end = share->known;
  word begin[MOST_WINDOWS];
  for (word w = 0; w < W; w++) begin[w] = position(&share->tile, end, now - layout->window[w]);
  if (end == begin[0]) return;
  if (get(&share->tile, end - 1) > *newest) *newest = get(&share->tile, end - 1);
  for (word s = 0; s < layout->states; s++) {
    const word kind = layout->kind[s], neutral = layout->neutral[s];
    const Column *value = &share->whole[s].value;
    word *total = totals + s * W;
    if (kind == ADDITIVE) {
      const word all = get(value, end);
      for (word w = 0; w < W; w++) total[w] += all - get(value, begin[w]);
    } else if (kind == LEAST || kind == GREATEST) {
      word found = neutral, until = end;
      for (word w = W - 1; w >= 0; until = begin[w--]) {
        found = better(kind, found, best_between(kind, neutral, value, n, begin[w], until));
        total[w] = better(kind, total[w], found);
      }
    } else if (kind == LAST_AT) {
      const Column *last = &share->whole[s + 1].value;
      const word found = newest_with_value(value, n, neutral, begin[0], end);
      for (word w = 0; w < W && found >= begin[w]; w++)
        take_last(total + w, total + W + w, get(value, found), get(last, found));
    }
  }
}

/* Add one tile or part, which lies in the windows 0 to depth: windows are nested, the longest comes first. */
static void add_row(const Layout *layout, const State *states, int running, word i, word depth, word *totals) {
  const word W = layout->windows;
  for (word s = 0; s < layout->states; s++) {
    const word kind = layout->kind[s];
    const Column *value = &states[s].value;
    word *total = totals + s * W;
    if (kind == DISTINCT || kind == LAST) continue;
    for (word w = 0; w <= depth; w++) {
      if (kind == ADDITIVE) total[w] += running ? get(value, i + 1) - get(value, i) : get(value, i);
      else if (kind == LAST_AT) take_last(total + w, total + W + w, get(value, i), get(&states[s + 1].value, i));
      else total[w] = better(kind, total[w], get(value, i));
    }
  }
}

/* Add the tiles of which not all was known: part by part where a tile has parts. */
static void add_unsettled(const Layout *layout, const Share *share, word now, word at_us, State *parts, word *totals,
                          word *newest) {
  const byte *at = share->parts;
  word p = share->part;
  for (word s = 0; s < layout->states; s++) part_state(layout, s, share->m, &at, parts + s);
  for (word i = share->known; i < share->end; i++) {
    const word tile = get(&share->tile, i), split = p < share->m && get(&share->part_tile, p) == tile;
    word depth = -1, any = !split;
    while (depth + 1 < layout->windows && tile >= now - layout->window[depth + 1]) depth++;
    if (!split) add_row(layout, share->whole, 1, i, depth, totals);
    for (; p < share->m && get(&share->part_tile, p) == tile; p++)
      if (get(&share->available, p) <= at_us) {
        add_row(layout, parts, 0, p, depth, totals);
        any = 1;
      }
    if (any && depth >= 0 && tile > *newest) *newest = tile;
  }
}

/* One record's values of a distinct state, the newest first: tiles with unknown events, tiles after the last list, and
   the list of everything before. */
typedef struct {
  const Share *share;
  const State *whole;
  State parts;
  word row, part_end, single, covered, entry, entry_end;
} Values;

static Values values_of(const Layout *layout, const Share *share, word s) {
  const byte *at = share->parts;
  const word n = share->n, lists = share->known == n ? blocks(n) : share->known / BLOCK;
  Values values = {.share = share, .whole = share->whole + s, .row = share->end, .part_end = share->m,
                   .single = share->known, .covered = least(lists * BLOCK, share->known)};
  if (lists) { values.entry = get(&values.whole->from, lists - 1); values.entry_end = get(&values.whole->from, lists); }
  if (share->known == share->end) return values;
  for (word i = 0; i <= s; i++) part_state(layout, i, share->m, &at, &values.parts);
  while (values.part_end > share->part
         && get(&share->tile, share->end - 1) < get(&share->part_tile, values.part_end - 1)) values.part_end--;
  return values;
}

static word most_values(const Values *values) {
  const Share *share = values->share;
  const Column *start = &values->whole->value;
  word found = values->entry_end - values->entry + get(start, share->end) - get(start, values->covered);
  if (share->known < share->end)
    found += get(&values->parts.value, values->part_end) - get(&values->parts.value, share->part);
  return found;
}

/* Add what lies in tiles from `bound` on and was not added yet. */
static void add_values(Values *values, word bound, word at_us, Set *set) {
  const Share *share = values->share;
  while (values->row > share->known && get(&share->tile, values->row - 1) >= bound) {
    const word i = --values->row, tile = get(&share->tile, i);
    word split = 0;
    while (values->part_end > share->part && get(&share->part_tile, values->part_end - 1) == tile) {
      split = 1; values->part_end--;
      if (get(&share->available, values->part_end) <= at_us) add_row_values(set, &values->parts, values->part_end);
    }
    if (!split) add_row_values(set, values->whole, i);
  }
  while (values->single > values->covered && get(&share->tile, values->single - 1) >= bound)
    add_row_values(set, values->whole, --values->single);
  for (; values->entry < values->entry_end && get(&values->whole->newest, values->entry) >= bound; values->entry++)
    add(set, get(&values->whole->listed, values->entry));
}

/* How many different values a state has in each window over all records; -1 above its cap. */
static int count_distinct(const Layout *layout, const Share *shares, word count, word s, word now, word at_us,
                          word *total, Values *values, Memory *memory) {
  Set set = {0, 0, 0, layout->cap[s] + 1};
  word entries = 0;
  for (word r = 0; r < count; r++) { values[r] = values_of(layout, shares + r, s); entries += most_values(values + r); }
  set.size = set_size(least(entries, set.most));
  if (!reserve(memory, set.size * sizeof(word))) return 0;
  set.slot = (word *)memory->bytes;
  clear(&set);
  for (word w = layout->windows - 1; w >= 0; w--) {
    for (word r = 0; r < count; r++) add_values(values + r, now - layout->window[w], at_us, &set);
    total[w] = set.count > layout->cap[s] ? -1 : set.count;
  }
  return 1;
}

/* Window totals to one feature's value: bottega.features.definition.Layout.values, operation by operation. */
static double value_of(const Layout *layout, word f, const word *totals) {
  const word W = layout->windows, w = layout->of_window[f], s = layout->numerator[f];
  const word n = totals[layout->counted[f] * W + w], numerator = totals[s * W + w], scale = layout->scale[f];
  const word how = layout->divide[f];
  word divisor = scale * (how == DIVIDE_COUNT ? n : how == DIVIDE_IF_ANY ? n > 0 : 1);
  if (layout->kind[s] == DISTINCT && numerator == -1) divisor = 0;
  if (layout->ttl >= 0 && totals[layout->ttl] <= 0) divisor = 0;
  if (divisor <= 0) return layout->fallback[f];
  if (layout->squares[f] < 0) return (double)numerator / (double)divisor;
  const word *high = totals + layout->squares[f] * W;
  const wide square = ((wide)high[w] << SQUARE_BITS) + high[W + w];
  return sqrt((double)((wide)n * square - (wide)numerator * numerator) / (double)((wide)n * n)) / (double)scale;
}

static int read_row(const Layout *layout, word at_us, const byte *const *records, word count, word *newest,
                    Memory *work, Memory *slots) {
  const word S = layout->states, W = layout->windows;
  const word now = at_us / layout->tile_us - (at_us % layout->tile_us < 0);
  const word size = sizeof(Share) + sizeof(Values) + S * sizeof(State);
  if (!reserve(work, S * W * (word)sizeof(word) + count * size + S * (word)sizeof(State))) return NO_MEMORY;
  word *sums = (word *)work->bytes;
  Share *shares = (Share *)(sums + S * W);
  Values *values = (Values *)(shares + count);
  State *states = (State *)(values + count), *parts = states + count * S;
  word found = 0;
  for (word s = 0; s < S; s++)
    for (word w = 0; w < W; w++) sums[s * W + w] = layout->neutral[s];
  for (word r = 0; r < count; r++) {
    if (!records[r]) continue;
    if (*(const single *)records[r] != FORMAT) return OTHER_FORMAT;
    Share *share = shares + found;
    *share = share_of(layout, records[r], now, at_us, states + S * found++);
    add_known(layout, share, now, sums, newest);
    if (share->known < share->end) add_unsettled(layout, share, now, at_us, parts, sums, newest);
  }
  for (word s = 0; found && s < S; s++)
    if (layout->kind[s] == DISTINCT)
      if (!count_distinct(layout, shares, found, s, now, at_us, sums + s * W, values, slots)) return NO_MEMORY;
  return DONE;
}

/* Features of rows: values[f * rows + row], after the last feature the age (NaN without events), and, where asked for,
   the window totals totals[(s * windows + w) * rows + row]. records[start[row]] to records[start[row + 1]] are those of
   the row's entity, null where there is none. */
int read_windows(const Layout *layout, word rows, const word *at_us, const word *start, const byte *const *records,
                 double *values, word *totals) {
  Memory work = {0, 0, 0}, slots = {0, 0, 0};
  int failed = DONE;
  for (word row = 0; row < rows && !failed; row++) {
    word newest = EMPTY;
    failed = read_row(layout, at_us[row], records + start[row], start[row + 1] - start[row], &newest, &work, &slots);
    if (failed) break;
    const word *sums = (const word *)work.bytes, closed = (newest + 1) * layout->tile_us;
    for (word f = 0; f < layout->features; f++) values[f * rows + row] = value_of(layout, f, sums);
    values[layout->features * rows + row] = newest == EMPTY ? __builtin_nan("") : (double)(at_us[row] - closed) / 1e6;
    for (word i = 0; totals && i < layout->states * layout->windows; i++) totals[i * rows + row] = sums[i];
  }
  free(work.bytes);
  free(slots.bytes);
  return failed;
}

/* One entity's features at a moment from at most three records, null where there is none: values[features], its age. */
int read_one(const Layout *layout, word at_us, const void *one, const void *two, const void *three, double *values) {
  const word start[2] = {0, 3};
  const byte *records[3] = {one, two, three};
  return read_windows(layout, 1, &at_us, start, records, values, 0);
}

/* ---- Joining ---- */

/* Rows to be joined: tiles of a record with running totals, parts of a record, or new rows. */
typedef struct {
  word n, running;
  Column tile, available, *value, *pool;
} Cells;

typedef struct { Cells whole, parts; } Side;

static void open_record(const Layout *layout, const byte *record, Side *side) {
  side->whole.n = side->parts.n = 0;
  if (!record) return;
  const single *header = (const single *)record;
  const byte *at = record + HEADER, *part = record + header[3];
  const word n = side->whole.n = header[1], m = side->parts.n = header[2];
  side->whole.running = 1; side->parts.running = 0;
  side->whole.tile = column(&at, n, EMPTY);
  side->parts.tile = column(&part, m, EMPTY);
  side->parts.available = column(&part, m, EMPTY);
  for (word s = 0; s < layout->states; s++) {
    State state, parts;
    whole_state(layout, s, n, &at, &state);
    part_state(layout, s, m, &part, &parts);
    side->whole.value[s] = state.value; side->whole.pool[s] = state.pool;
    side->parts.value[s] = parts.value; side->parts.pool[s] = parts.pool;
  }
}

static void open_rows(const Layout *layout, const Rows *rows, word first, word end, Cells *cells) {
  cells->n = end - first; cells->running = 0;
  cells->tile = column_of(rows->tile + first); cells->available = column_of(rows->available + first);
  for (word s = 0; s < layout->states; s++) {
    cells->value[s] = column_of(rows->value[s] + first);
    cells->pool[s] = column_of(rows->pool[s]);
  }
}

/* Keep the rows of tiles in [begin, end). */
static void narrow(const Layout *layout, Cells *cells, word begin, word end) {
  const word first = position(&cells->tile, cells->n, begin), last = position(&cells->tile, cells->n, end);
  cells->n = last > first ? last - first : 0;
  if (!cells->n) return;
  cells->tile.at += first * cells->tile.width;
  if (!cells->running) cells->available.at += first * cells->available.width;
  for (word s = 0; s < layout->states; s++) cells->value[s].at += first * cells->value[s].width;
}

static word pool_size(const Cells *cells, word s) {
  return cells->n ? get(cells->value + s, cells->n) - get(cells->value + s, 0) : 0;
}

/* A row of a side by its number: a part from 0 on, a whole tile i as -2 - i, none as -1. */
enum { NONE = -1, WHOLE = -2 };

static const Cells *pick(const Side *side, word row, word *i) {
  *i = row <= WHOLE ? WHOLE - row : row;
  return row <= WHOLE ? &side->whole : &side->parts;
}

/* The pool that a row's values lie in, and from where to where. */
static const Column *pool_of(const Side *side, word row, word s, word *begin, word *end) {
  word i;
  *begin = *end = 0;
  if (row == NONE) return 0;
  const Cells *cells = pick(side, row, &i);
  *begin = get(cells->value + s, i);
  *end = get(cells->value + s, i + 1);
  return cells->pool + s;
}

/* The different values of two rows, ascending, at most `most` of them; returns how many. */
static word unite(const Side *one, word row, const Side *other, word other_row, word s, word most, word *out) {
  word i, i_end, j, j_end, count = 0;
  const Column *mine = pool_of(one, row, s, &i, &i_end), *theirs = pool_of(other, other_row, s, &j, &j_end);
  while ((i < i_end || j < j_end) && count < most) {
    const word a = i < i_end ? get(mine, i) : 0, b = j < j_end ? get(theirs, j) : 0;
    const word next = j == j_end || (i < i_end && a <= b) ? a : b;
    if (i < i_end && a == next) i++;
    if (j < j_end && b == next) j++;
    out[count++] = next;
  }
  return count;
}

/* Numbers of one state of a side, one for each row, and those of the state before. */
typedef struct { word *whole, *parts, *whole_before, *parts_before; } Plain;

/* Where a state of joined rows is put together before it is written. */
typedef struct { Plain one, other; word *value, *pool, *from, *listed, *newest; Set set; } Draft;

static void copy_column(const Cells *cells, word s, int additive, word *out) {
  const Column value = cells->value[s];
  const word n = cells->n;
  if (!additive || !cells->running) { for (word i = 0; i < n; i++) out[i] = get(&value, i); return; }
  word before = n ? get(&value, 0) : 0;
  for (word i = 0; i < n; i++) { const word total = get(&value, i + 1); out[i] = total - before; before = total; }
}

/* Take the numbers of state s. */
static void load(const Layout *layout, word s, const Side *side, int with_parts, Plain *plain) {
  word *whole = plain->whole_before, *parts = plain->parts_before;
  plain->whole_before = plain->whole; plain->parts_before = plain->parts;
  plain->whole = whole; plain->parts = parts;
  copy_column(&side->whole, s, layout->kind[s] == ADDITIVE, whole);
  if (with_parts) copy_column(&side->parts, s, 0, parts);
}

static word number(const word *whole, const word *parts, word row, word neutral) {
  return row == NONE ? neutral : row <= WHOLE ? whole[WHOLE - row] : parts[row];
}

/* The lists of a distinct state's blocks. */
static void draft_lists(Draft *draft, const word *tile, word n) {
  Set *set = &draft->set;
  word count = 0;
  set->size = set_size(least(draft->value[n], set->most));
  draft->from[0] = 0;
  for (word b = 0; b < blocks(n); b++) {
    const word before = b ? draft->from[b - 1] : 0, first = count;
    clear(set);
    for (word k = least(n, (b + 1) * BLOCK) - 1; k >= b * BLOCK; k--)
      for (word v = draft->value[k]; v < draft->value[k + 1]; v++)
        if (add(set, draft->pool[v])) { draft->listed[count] = draft->pool[v]; draft->newest[count++] = tile[k]; }
    for (word v = before; v < first; v++)
      if (add(set, draft->listed[v])) {
        draft->listed[count] = draft->listed[v];
        draft->newest[count++] = draft->newest[v];
      }
    draft->from[b + 1] = count;
  }
}

/* Write one state of n joined rows, whose numbers on both sides are given; returns where it ends. Whole tiles come with
   their numbers, parts without. */
static byte *write_state(const Layout *layout, word s, const Side *one, const Side *other, const word *rows,
                         const word *other_rows, word n, const word *tile, Draft *draft, byte *out) {
  const word kind = layout->kind[s], neutral = layout->neutral[s];
  word *value = draft->value;
  if (kind == DISTINCT) {
    const word most = draft->set.most = layout->cap[s] + 1;
    value[0] = 0;
    for (word k = 0; k < n; k++)
      value[k + 1] = value[k] + unite(one, rows[k], other, other_rows[k], s, most, draft->pool + value[k]);
    out = write_column(value, n + 1, EMPTY, out);
    out = write_column(draft->pool, value[n], EMPTY, out);
    if (!tile) return out;
    draft_lists(draft, tile, n);
    out = write_column(draft->from, blocks(n) + 1, EMPTY, out);
    out = write_column(draft->listed, draft->from[blocks(n)], EMPTY, out);
    return write_column(draft->newest, draft->from[blocks(n)], EMPTY, out);
  }
  const Plain *a = &draft->one, *b = &draft->other;
  load(layout, s, one, !tile, &draft->one);
  load(layout, s, other, !tile, &draft->other);
  for (word k = 0; k < n; k++) {
    const word mine = number(a->whole, a->parts, rows[k], neutral);
    const word theirs = number(b->whole, b->parts, other_rows[k], neutral);
    if (kind == ADDITIVE) value[k] = mine + theirs;
    else if (kind != LAST) value[k] = better(kind, mine, theirs);
    else {                              /* the times are the state before */
      word at = number(a->whole_before, a->parts_before, rows[k], neutral);
      value[k] = mine;
      take_last(&at, value + k, number(b->whole_before, b->parts_before, other_rows[k], neutral), theirs);
    }
  }
  if (kind == ADDITIVE && tile) {
    word total = 0;
    for (word k = 0; k < n; k++) { const word more = value[k]; value[k] = total; total += more; }
    value[n] = total;
    return write_column(value, n + 1, EMPTY, out);
  }
  const word bests = tile && kind != LAST ? blocks(n) : 0;
  for (word b = 0; b < bests; b++) {
    word best = neutral;
    for (word k = b * BLOCK; k < least(n, (b + 1) * BLOCK); k++) best = better(kind, best, value[k]);
    value[n + b] = best;
  }
  return write_column(value, n + bests, kind == ADDITIVE ? EMPTY : neutral, out);
}

/* Which whole rows share a tile: their numbers on both sides, and the tiles; returns how many. */
static word pair_tiles(const Cells *one, const Cells *other, word *rows, word *other_rows, word *tile) {
  word n = 0;
  for (word i = 0, j = 0; i < one->n || j < other->n; n++) {
    const word a = i < one->n ? get(&one->tile, i) : 0, b = j < other->n ? get(&other->tile, j) : 0;
    const word mine = i < one->n && (j == other->n || a <= b), theirs = j < other->n && (i == one->n || b <= a);
    tile[n] = mine ? a : b;
    rows[n] = mine ? WHOLE - i++ : NONE;
    other_rows[n] = theirs ? WHOLE - j++ : NONE;
  }
  return n;
}

/* The first row of a side in a split tile, and one past the last: its parts, or its whole tile as what was on time. */
static void rows_in(const Side *side, word tile, word *part, word *first, word *end) {
  *first = *part;
  while (*part < side->parts.n && get(&side->parts.tile, *part) == tile) ++*part;
  *end = *part;
  if (*first < *end) return;
  const word i = position(&side->whole.tile, side->whole.n, tile);
  if (i == side->whole.n || get(&side->whole.tile, i) != tile) return;
  *first = WHOLE - i; *end = *first + 1;
}

static word arrival(const Side *side, word row) { return row <= WHOLE ? 0 : get(&side->parts.available, row); }

/* Which parts share tile and arrival, in tiles from `settled` on, as pair_tiles. */
static word pair_parts(const Side *one, const Side *other, word settled, word *rows, word *other_rows, word *tile,
                       word *available) {
  const Cells *mine = &one->parts, *theirs = &other->parts;
  word p = position(&mine->tile, mine->n, settled), q = position(&theirs->tile, theirs->n, settled), m = 0;
  while (p < mine->n || q < theirs->n) {
    const word a = p < mine->n ? get(&mine->tile, p) : 0, b = q < theirs->n ? get(&theirs->tile, q) : 0;
    const word at = p < mine->n && (q == theirs->n || a <= b) ? a : b;
    word i, i_end, j, j_end;
    rows_in(one, at, &p, &i, &i_end);
    rows_in(other, at, &q, &j, &j_end);
    for (; i < i_end || j < j_end; m++) {
      const word first = i < i_end && (j == j_end || arrival(one, i) <= arrival(other, j));
      const word second = j < j_end && (i == i_end || arrival(other, j) <= arrival(one, i));
      tile[m] = at; available[m] = first ? arrival(one, i) : arrival(other, j);
      rows[m] = first ? i++ : NONE;
      other_rows[m] = second ? j++ : NONE;
    }
  }
  return m;
}

/* Append to `out` the record of what both sides hold; parts of tiles before `settled` are left out. */
static int join(const Layout *layout, const Side *one, const Side *other, word settled, Memory *out, Memory *work) {
  const word most_n = one->whole.n + other->whole.n, most_m = 2 * (one->parts.n + other->parts.n);
  const word longest = (most_n > most_m ? most_n : most_m) + blocks(most_n) + 1;
  word words = most_n + 2 * most_m, columns = 3, pool = 0, lists = 0, slots = 2;
  for (word s = 0; s < layout->states; s++) {
    words += most_n + blocks(most_n) + most_m + 3; columns += 2;
    if (layout->kind[s] != DISTINCT) continue;
    const word mine = 2 * (pool_size(&one->whole, s) + pool_size(&other->whole, s))
                      + pool_size(&one->parts, s) + pool_size(&other->parts, s);
    const word listed = least(mine, layout->cap[s] + 1), entries = blocks(most_n) * listed;
    words += mine + blocks(most_n) + 1 + 2 * entries; columns += 5;
    if (mine > pool) pool = mine;
    if (entries > lists) lists = entries;
    if (set_size(listed) > slots) slots = set_size(listed);
  }
  const word scratch = slots + 5 * most_n + 6 * most_m + longest + pool + blocks(most_n) + 1 + 2 * lists;
  if (!reserve(work, scratch * (word)sizeof(word))) return NO_MEMORY;
  if (!reserve(out, out->used + HEADER + PADDING + columns * COLUMN + words * (word)sizeof(word))) return NO_MEMORY;
  word *free_word = (word *)work->bytes;
  Draft draft = {.set = {free_word, slots, 0, 0}};
  draft.value = free_word + slots; draft.pool = draft.value + longest;
  draft.from = draft.pool + pool; draft.listed = draft.from + blocks(most_n) + 1; draft.newest = draft.listed + lists;
  word *at_word = draft.newest + lists;
  for (word side = 0; side < 2; side++) {
    const Side *of = side ? other : one;
    Plain *plain = side ? &draft.other : &draft.one;
    plain->whole = at_word; plain->whole_before = plain->whole + of->whole.n;
    plain->parts = plain->whole_before + of->whole.n; plain->parts_before = plain->parts + of->parts.n;
    at_word = plain->parts_before + of->parts.n;
  }
  word *tile = at_word, *rows = tile + most_n, *other_rows = rows + most_n;
  byte *record = out->bytes + out->used;
  const word n = pair_tiles(&one->whole, &other->whole, rows, other_rows, tile);
  byte *at = write_column(tile, n, EMPTY, record + HEADER);
  for (word s = 0; s < layout->states; s++)
    at = write_state(layout, s, one, other, rows, other_rows, n, tile, &draft, at);
  single *header = (single *)record;
  header[0] = FORMAT; header[1] = (single)n; header[3] = (single)(at - record);
  word *part_tile = other_rows + most_n, *available = part_tile + most_m;
  rows = available + most_m; other_rows = rows + most_m;
  const word m = pair_parts(one, other, settled, rows, other_rows, part_tile, available);
  header[2] = (single)m;
  at = write_column(part_tile, m, EMPTY, at);
  at = write_column(available, m, EMPTY, at);
  for (word s = 0; s < layout->states; s++)
    at = write_state(layout, s, one, other, rows, other_rows, m, 0, &draft, at);
  for (word i = 0; i < PADDING; i++) *at++ = 0;
  header[4] = (single)(at - record);
  out->used = at - out->bytes;
  return DONE;
}

/* Two empty sides with room for the states' columns. */
static int two_sides(const Layout *layout, Side *sides, Memory *memory) {
  const word S = layout->states;
  if (!reserve(memory, 8 * S * (word)sizeof(Column) + 1)) return 0;
  Column *at = (Column *)memory->bytes;
  for (word i = 0; i < 4; i++, at += 2 * S) {
    Cells *cells = i % 2 ? &sides[i / 2].parts : &sides[i / 2].whole;
    cells->n = 0; cells->value = at; cells->pool = at + S;
  }
  return 1;
}

/* Records with more rows, one after the other in `out`: record i takes whole rows whole_first[i] to whole_first[i + 1]
   and parts likewise; ends[i] is where it ends. */
int add_rows(const Layout *layout, word count, const byte *const *old, const Rows *whole, const word *whole_first,
             const Rows *parts, const word *parts_first, Memory *out, word *ends) {
  Memory work = {0, 0, 0}, columns = {0, 0, 0};
  Side sides[2];
  int failed = two_sides(layout, sides, &columns) ? DONE : NO_MEMORY;
  for (word i = 0; i < count && !failed; i++) {
    if (old[i] && *(const single *)old[i] != FORMAT) { failed = OTHER_FORMAT; break; }
    open_record(layout, old[i], sides);
    open_rows(layout, whole, whole_first[i], whole_first[i + 1], &sides[1].whole);
    open_rows(layout, parts, parts_first[i], parts_first[i + 1], &sides[1].parts);
    failed = join(layout, sides, sides + 1, EMPTY, out, &work);
    ends[i] = out->used;
  }
  free(work.bytes);
  free(columns.bytes);
  return failed;
}

/* Whether a record has tiles in [begin, end) only, and no parts before `settled`. */
static int stays(const Side *side, const word *range, word settled) {
  const Cells *whole = &side->whole, *parts = &side->parts;
  return whole->n && get(&whole->tile, 0) >= range[0] && get(&whole->tile, whole->n - 1) < range[1]
         && (!parts->n || get(&parts->tile, 0) >= settled);
}

/* Records joined in pairs: of each the tiles in [range[2 * i], range[2 * i + 1]); as add_rows. A record with nothing to
   join that stays as it is takes no bytes. */
int join_records(const Layout *layout, word count, const byte *const *one, const word *range, const byte *const *other,
                 const word *other_range, word settled, Memory *out, word *ends) {
  Memory work = {0, 0, 0}, columns = {0, 0, 0};
  Side sides[2];
  int failed = two_sides(layout, sides, &columns) ? DONE : NO_MEMORY;
  for (word i = 0; i < count && !failed; i++) {
    const byte *records[2] = {one[i], other[i]};
    const word *ranges[2] = {range + 2 * i, other_range + 2 * i};
    int unchanged = 0;
    for (word side = 0; side < 2 && !failed; side++) {
      if (records[side] && *(const single *)records[side] != FORMAT) { failed = OTHER_FORMAT; break; }
      open_record(layout, records[side], sides + side);
      if (!side) unchanged = !records[1] && stays(sides, ranges[0], settled);
      narrow(layout, &sides[side].whole, ranges[side][0], ranges[side][1]);
      narrow(layout, &sides[side].parts, ranges[side][0], ranges[side][1]);
    }
    if (!failed && !unchanged) failed = join(layout, sides, sides + 1, settled, out, &work);
    ends[i] = out->used;
  }
  free(work.bytes);
  free(columns.bytes);
  return failed;
}
