/* The online store's compiled kernel: windows of one entity at a moment, and the joining of its records.

   A record is an array of 64-bit words:

     format, n, m, where               n tiles, m parts, and the word at which the parts begin
     tile[n]                           tile numbers, ascending
     for each state in turn, of all events of a tile
       additive:  total[n + 1]         running totals, total[0] = 0
       least, greatest, last_at:       value[n], best of each block of 32 tiles
       last:      value[n]
       distinct:  start[n + 1], pool   each tile's different values, ascending, at most cap + 1 of them;
                  from[blocks + 1],    and for each block a list of (value, newest tile that has it) of all tiles up to
                  pairs                the block's end, newest first, at most cap + 1 of them
     tile[m], available[m]             parts, ascending: tiles with late events, split by what was known when
     for each state in turn
       distinct:  start[m + 1], pool
       others:    value[m]

   An event that became known before its tile closed is on time: together they are the part with available 0. A tile
   without late events has no parts. Several records of one entity may hold the same tile; what they hold adds up.

   platform/bottega/features/chunks.py computes the same with numpy; tests hold the two to equality. */

typedef long long word __attribute__((aligned(1)));  /* LMDB aligns small records to two bytes only */
typedef __int128 wide;

enum { ADDITIVE, LEAST, GREATEST, LAST_AT, LAST, DISTINCT };
enum { BLOCK = 32, HEADER = 4, FORMAT = 3, SQUARE_BITS = 32, MOST_WINDOWS = 64 };
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

typedef struct { word *words, used, room; } Memory;

extern double sqrt(double);
extern void *realloc(void *, unsigned long);
extern void free(void *);

static word blocks(word n) { return (n + BLOCK - 1) / BLOCK; }

static word least(word one, word other) { return one < other ? one : other; }

/* Room for so many words; those already there stay. */
static int reserve(Memory *memory, word words) {
  if (words <= memory->room) return 1;
  word room = 2 * memory->room > words ? 2 * memory->room : words;
  word *grown = realloc(memory->words, (unsigned long)room * sizeof(word));
  if (!grown) return 0;
  memory->words = grown; memory->room = room;
  return 1;
}

void release(word *words) { free(words); }

static const word *skip_tiles(const Layout *layout, word state, word n, const word *at) {
  switch (layout->kind[state]) {
    case ADDITIVE: return at + n + 1;
    case LAST: return at + n;
    case DISTINCT: at += n + 1 + at[n]; return at + blocks(n) + 1 + 2 * at[blocks(n)];
    default: return at + n + blocks(n);
  }
}

static const word *skip_parts(const Layout *layout, word state, word m, const word *at) {
  return layout->kind[state] == DISTINCT ? at + m + 1 + at[m] : at + m;
}

/* The first tile that is not before `bound`. */
static word position(const word *tile, word n, word bound) {
  word low = 0, high = n;
  while (low < high) {
    word middle = (low + high) / 2;
    if (tile[middle] < bound) low = middle + 1; else high = middle;
  }
  return low;
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
  word at = (word)(((unsigned long long)value * 0x9e3779b97f4a7c15ULL) >> 32) & (set->size - 1);
  while (set->slot[at] != EMPTY && set->slot[at] != value) at = (at + 1) & (set->size - 1);
  if (set->slot[at] == value) return 0;
  set->slot[at] = value; set->count++;
  return 1;
}

static void add_all(Set *set, const word *value, const word *end) {
  while (value < end) add(set, *value++);
}

/* ---- Reading ---- */

/* What a record has for a moment. All events of tiles[0 .. known) had arrived; of tiles[known .. end) some had not. */
typedef struct {
  word n, m, known, end, part;
  const word *tile, *state, *part_tile, *available, *part_state;
} Share;

static Share share_of(const Layout *layout, const word *record, word now, word at_us) {
  Share share;
  share.n = record[1]; share.m = record[2];
  share.tile = record + HEADER; share.state = share.tile + share.n;
  share.part_tile = record + record[3]; share.available = share.part_tile + share.m;
  share.part_state = share.available + share.m;
  share.known = share.end = position(share.tile, share.n, now);
  share.part = share.m;
  if (!share.m) return share;
  word p = position(share.part_tile, share.m, now - layout->unsettled);
  for (; p < share.m && share.part_tile[p] < now; p++)
    if (share.available[p] > at_us) {
      share.known = position(share.tile, share.end, share.part_tile[p]);
      share.part = position(share.part_tile, share.m, share.part_tile[p]);
      break;
    }
  return share;
}

static word best_between(word kind, word neutral, const word *value, word n, word begin, word end) {
  const word *best = value + n;
  word found = neutral;
  while (begin < end && begin % BLOCK) found = better(kind, found, value[begin++]);
  for (; begin + BLOCK <= end; begin += BLOCK) found = better(kind, found, best[begin / BLOCK]);
  while (begin < end) found = better(kind, found, value[begin++]);
  return found;
}

/* The newest tile in [begin, end) with a value, or -1. */
static word newest_with_value(const word *at, word n, word neutral, word begin, word end) {
  const word *best = at + n;
  while (end > begin) {
    if (end % BLOCK == 0 && end - BLOCK >= begin && best[end / BLOCK - 1] == neutral) { end -= BLOCK; continue; }
    if (at[end - 1] != neutral) return end - 1;
    end--;
  }
  return -1;
}

/* Add the tiles of which all is known to totals[state * windows + w]. */
static void add_known(const Layout *layout, const Share *share, word now, word *totals, word *newest) {
  const word W = layout->windows, n = share->n, end = share->known, *state = share->state;
  word begin[MOST_WINDOWS];
  for (word w = 0; w < W; w++) begin[w] = position(share->tile, end, now - layout->window[w]);
  if (end == begin[0]) return;
  if (share->tile[end - 1] > *newest) *newest = share->tile[end - 1];
  for (word s = 0; s < layout->states; s++) {
    const word kind = layout->kind[s], neutral = layout->neutral[s], *next = skip_tiles(layout, s, n, state);
    word *total = totals + s * W;
    if (kind == ADDITIVE) {
      for (word w = 0; w < W; w++) total[w] += state[end] - state[begin[w]];
    } else if (kind == LEAST || kind == GREATEST) {
      word found = neutral;
      for (word w = W - 1; w >= 0; w--) {
        found = better(kind, found, best_between(kind, neutral, state, n, begin[w], w == W - 1 ? end : begin[w + 1]));
        total[w] = better(kind, total[w], found);
      }
    } else if (kind == LAST_AT) {
      word found = newest_with_value(state, n, neutral, begin[0], end);
      for (word w = 0; w < W && found >= begin[w]; w++) take_last(total + w, total + W + w, state[found], next[found]);
    }
    state = next;
  }
}

/* Add one tile or part, which lies in the windows 0 to depth: windows are nested, the longest comes first. */
static void add_row(const Layout *layout, int whole, const word *state, word rows, word i, word depth, word *totals) {
  const word W = layout->windows;
  for (word s = 0; s < layout->states; s++) {
    const word kind = layout->kind[s];
    const word *next = whole ? skip_tiles(layout, s, rows, state) : skip_parts(layout, s, rows, state);
    word *total = totals + s * W;
    for (word w = 0; w <= depth && kind != LAST && kind != DISTINCT; w++) {
      if (kind == ADDITIVE) total[w] += whole ? state[i + 1] - state[i] : state[i];
      else if (kind == LAST_AT) take_last(total + w, total + W + w, state[i], next[i]);
      else total[w] = better(kind, total[w], state[i]);
    }
    state = next;
  }
}

/* Add the tiles of which not all was known: part by part where a tile has parts. */
static void add_unsettled(const Layout *layout, const Share *share, word now, word at_us, word *totals, word *newest) {
  word p = share->part;
  for (word i = share->known; i < share->end; i++) {
    const word tile = share->tile[i], split = p < share->m && share->part_tile[p] == tile;
    word depth = -1, any = !split;
    while (depth + 1 < layout->windows && tile >= now - layout->window[depth + 1]) depth++;
    if (!split) add_row(layout, 1, share->state, share->n, i, depth, totals);
    for (; p < share->m && share->part_tile[p] == tile; p++)
      if (share->available[p] <= at_us) {
        add_row(layout, 0, share->part_state, share->m, p, depth, totals);
        any = 1;
      }
    if (any && depth >= 0 && tile > *newest) *newest = tile;
  }
}

/* One record's values of a distinct state, the newest first: tiles with unknown events, tiles after the last list, and
   the list of everything before. */
typedef struct {
  const Share *share;
  const word *start, *pool, *pair, *pair_end, *part_start, *part_pool;
  word row, part_end, single, covered;
} Values;

static Values values_of(const Layout *layout, const Share *share, word s) {
  const word *state = share->state, *parts = share->part_state, n = share->n, m = share->m;
  for (word i = 0; i < s; i++) { state = skip_tiles(layout, i, n, state); parts = skip_parts(layout, i, m, parts); }
  const word *from = state + n + 1 + state[n], *pairs = from + blocks(n) + 1;
  const word lists = share->known == n ? blocks(n) : share->known / BLOCK;
  Values values = {share, state, state + n + 1, pairs, pairs, parts, parts + m + 1, share->end, m, share->known,
                   least(lists * BLOCK, share->known)};
  if (lists) { values.pair = pairs + 2 * from[lists - 1]; values.pair_end = pairs + 2 * from[lists]; }
  while (values.part_end > share->part && share->tile[share->end - 1] < share->part_tile[values.part_end - 1])
    values.part_end--;
  return values;
}

static word most_values(const Values *values) {
  const Share *share = values->share;
  word found = (values->pair_end - values->pair) / 2 + values->start[share->end] - values->start[values->covered];
  if (share->known < share->end) found += values->part_start[values->part_end] - values->part_start[share->part];
  return found;
}

/* Add what lies in tiles from `bound` on and was not added yet. */
static void add_values(Values *values, word bound, word at_us, Set *set) {
  const Share *share = values->share;
  while (values->row > share->known && share->tile[values->row - 1] >= bound) {
    const word i = --values->row;
    word split = 0;
    while (values->part_end > share->part && share->part_tile[values->part_end - 1] == share->tile[i]) {
      const word p = --values->part_end;
      split = 1;
      if (share->available[p] <= at_us)
        add_all(set, values->part_pool + values->part_start[p], values->part_pool + values->part_start[p + 1]);
    }
    if (!split) add_all(set, values->pool + values->start[i], values->pool + values->start[i + 1]);
  }
  while (values->single > values->covered && share->tile[values->single - 1] >= bound) {
    const word i = --values->single;
    add_all(set, values->pool + values->start[i], values->pool + values->start[i + 1]);
  }
  for (; values->pair < values->pair_end && values->pair[1] >= bound; values->pair += 2) add(set, values->pair[0]);
}

/* How many different values a state has in each window over all records; -1 above its cap. */
static int count_distinct(const Layout *layout, const Share *shares, word count, word s, word now, word at_us,
                          word *total, Values *values, Memory *memory) {
  Set set = {0, 0, 0, layout->cap[s] + 1};
  word entries = 0;
  for (word r = 0; r < count; r++) { values[r] = values_of(layout, shares + r, s); entries += most_values(values + r); }
  set.size = set_size(least(entries, set.most));
  if (!reserve(memory, set.size)) return 0;
  set.slot = memory->words;
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

static int read_row(const Layout *layout, word at_us, const word *const *records, word count, word *newest,
                    Memory *work, Memory *slots) {
  const word S = layout->states, W = layout->windows;
  const word now = at_us / layout->tile_us - (at_us % layout->tile_us < 0);
  const word share_words = sizeof(Share) / sizeof(word), words = share_words + sizeof(Values) / sizeof(word);
  if (!reserve(work, S * W + count * words)) return NO_MEMORY;
  Share *shares = (Share *)(work->words + S * W);
  Values *values = (Values *)(work->words + S * W + count * share_words);
  word found = 0;
  for (word s = 0; s < S; s++)
    for (word w = 0; w < W; w++) work->words[s * W + w] = layout->neutral[s];
  for (word r = 0; r < count; r++) {
    if (!records[r]) continue;
    if (records[r][0] != FORMAT) return OTHER_FORMAT;
    const Share share = shares[found++] = share_of(layout, records[r], now, at_us);
    add_known(layout, &share, now, work->words, newest);
    if (share.known < share.end) add_unsettled(layout, &share, now, at_us, work->words, newest);
  }
  for (word s = 0; found && s < S; s++)
    if (layout->kind[s] == DISTINCT)
      if (!count_distinct(layout, shares, found, s, now, at_us, work->words + s * W, values, slots)) return NO_MEMORY;
  return DONE;
}

/* Features of rows: values[f * rows + row], after the last feature the age (NaN without events), and, where asked for,
   the window totals totals[(s * windows + w) * rows + row]. records[start[row]] to records[start[row + 1]] are those of the row's entity,
   null where there is none. */
int read_windows(const Layout *layout, word rows, const word *at_us, const word *start, const word *const *records,
                 double *values, word *totals) {
  Memory work = {0, 0, 0}, slots = {0, 0, 0};
  int failed = DONE;
  for (word row = 0; row < rows && !failed; row++) {
    word newest = EMPTY;
    failed = read_row(layout, at_us[row], records + start[row], start[row + 1] - start[row], &newest, &work, &slots);
    if (failed) break;
    const word *sums = work.words, closed = (newest + 1) * layout->tile_us;
    for (word f = 0; f < layout->features; f++) values[f * rows + row] = value_of(layout, f, sums);
    values[layout->features * rows + row] = newest == EMPTY ? __builtin_nan("") : (double)(at_us[row] - closed) / 1e6;
    for (word i = 0; totals && i < layout->states * layout->windows; i++) totals[i * rows + row] = sums[i];
  }
  free(work.words);
  free(slots.words);
  return failed;
}

/* One entity's features at a moment from at most three records, null where there is none: values[features], its age. */
int read_one(const Layout *layout, word at_us, const void *one, const void *two, const void *three, double *values) {
  const word start[2] = {0, 3}, *records[3] = {one, two, three};
  return read_windows(layout, 1, &at_us, start, records, values, 0);
}

/* ---- Joining ---- */

/* Rows to be joined: tiles of a record with running totals, parts of a record, or new rows. */
typedef struct {
  word n, running;
  const word *tile, *available, **value, **pool;
} Cells;

typedef struct { Cells whole, parts; } Side;

static void open_record(const Layout *layout, const word *record, Side *side) {
  const word n = record ? record[1] : 0, m = record ? record[2] : 0;
  side->whole.n = n; side->whole.running = 1; side->parts.n = m; side->parts.running = 0;
  if (!record) return;
  const word *tile = record + HEADER, *state = tile + n, *part_tile = record + record[3], *part = part_tile + 2 * m;
  side->whole.tile = tile; side->parts.tile = part_tile; side->parts.available = part_tile + m;
  for (word s = 0; s < layout->states; s++) {
    side->whole.value[s] = state; side->whole.pool[s] = state + n + 1;
    side->parts.value[s] = part; side->parts.pool[s] = part + m + 1;
    state = skip_tiles(layout, s, n, state); part = skip_parts(layout, s, m, part);
  }
}

static void open_rows(const Layout *layout, const Rows *rows, word first, word end, Cells *cells) {
  cells->n = end - first; cells->running = 0;
  cells->tile = rows->tile + first; cells->available = rows->available + first;
  for (word s = 0; s < layout->states; s++) {
    cells->value[s] = rows->value[s] + first;
    cells->pool[s] = rows->pool[s];
  }
}

/* Keep the rows of tiles in [begin, end). */
static void narrow(const Layout *layout, Cells *cells, word begin, word end) {
  const word first = position(cells->tile, cells->n, begin), last = position(cells->tile, cells->n, end);
  cells->n = last > first ? last - first : 0;
  if (!cells->n) return;
  cells->tile += first; cells->available += first;
  for (word s = 0; s < layout->states; s++) cells->value[s] += first;
}

static word pool_size(const Cells *cells, word s) {
  return cells->n ? cells->value[s][cells->n] - cells->value[s][0] : 0;
}

/* A row of a side by its number: a part from 0 on, a whole tile i as -2 - i, none as -1. */
enum { NONE = -1, WHOLE = -2 };

static const Cells *pick(const Side *side, word row, word *i) {
  *i = row <= WHOLE ? WHOLE - row : row;
  return row <= WHOLE ? &side->whole : &side->parts;
}

static word scalar(const Layout *layout, const Side *side, word row, word s) {
  word i;
  if (row == NONE) return layout->neutral[s];
  const Cells *cells = pick(side, row, &i);
  const word *value = cells->value[s];
  return cells->running && layout->kind[s] == ADDITIVE ? value[i + 1] - value[i] : value[i];
}

static const word *pool_of(const Side *side, word row, word s, const word **end) {
  word i;
  *end = 0;
  if (row == NONE) return 0;
  const Cells *cells = pick(side, row, &i);
  *end = cells->pool[s] + cells->value[s][i + 1];
  return cells->pool[s] + cells->value[s][i];
}

/* Two ascending lists of different values as one, at most `most` of them; returns how many. */
static word unite(const word *one, const word *one_end, const word *other, const word *other_end, word most,
                  word *out) {
  word count = 0;
  while ((one < one_end || other < other_end) && count < most) {
    word next;
    if (other == other_end || (one < one_end && *one <= *other)) next = *one; else next = *other;
    if (one < one_end && *one == next) one++;
    if (other < other_end && *other == next) other++;
    out[count++] = next;
  }
  return count;
}

/* The (value, newest tile) lists of a distinct state's blocks; returns where they end. */
static word *write_lists(const word *tile, word n, const word *start, word *from, Set *set) {
  const word *pool = start + n + 1;
  word *pairs = from + blocks(n) + 1, count = 0;
  from[0] = 0;
  set->size = set_size(least(start[n], set->most));
  for (word b = 0; b < blocks(n); b++) {
    const word before = b ? from[b - 1] : 0, first = count;
    clear(set);
    for (word k = least(n, (b + 1) * BLOCK) - 1; k >= b * BLOCK; k--)
      for (word v = start[k]; v < start[k + 1]; v++)
        if (add(set, pool[v])) { pairs[2 * count] = pool[v]; pairs[2 * count + 1] = tile[k]; count++; }
    for (word v = before; v < first; v++)
      if (add(set, pairs[2 * v])) { pairs[2 * count] = pairs[2 * v]; pairs[2 * count + 1] = pairs[2 * v + 1]; count++; }
    from[b + 1] = count;
  }
  return pairs + 2 * count;
}

/* One state of `count` joined rows, whose numbers on both sides are given; returns where it ends. */
static word *write_state(const Layout *layout, word s, const Side *one, const Side *other, const word *rows,
                         const word *other_rows, word count, const word *tiles, Set *set, word *out) {
  const word kind = layout->kind[s];
  if (kind == DISTINCT) {
    out[0] = 0;
    for (word k = 0; k < count; k++) {
      const word *end, *other_end, *mine = pool_of(one, rows[k], s, &end);
      const word *theirs = pool_of(other, other_rows[k], s, &other_end);
      out[k + 1] = out[k] + unite(mine, end, theirs, other_end, layout->cap[s] + 1, out + count + 1 + out[k]);
    }
    word *end = out + count + 1 + out[count];
    set->most = layout->cap[s] + 1;
    return tiles ? write_lists(tiles, count, out, end, set) : end;
  }
  if (kind == ADDITIVE && tiles) {
    *out++ = 0;
    for (word k = 0; k < count; k++)
      out[k] = out[k - 1] + scalar(layout, one, rows[k], s) + scalar(layout, other, other_rows[k], s);
    return out + count;
  }
  for (word k = 0; k < count; k++) {
    const word mine = scalar(layout, one, rows[k], s), theirs = scalar(layout, other, other_rows[k], s);
    if (kind == ADDITIVE) out[k] = mine + theirs;
    else if (kind != LAST) out[k] = better(kind, mine, theirs);
    else {                              /* the times stand right before */
      word at = scalar(layout, one, rows[k], s - 1);
      out[k] = mine;
      take_last(&at, out + k, scalar(layout, other, other_rows[k], s - 1), theirs);
    }
  }
  word *best = out + count;
  if (!tiles || kind == ADDITIVE || kind == LAST) return best;
  for (word b = 0; b < blocks(count); b++) {
    best[b] = layout->neutral[s];
    for (word k = b * BLOCK; k < least(count, (b + 1) * BLOCK); k++) best[b] = better(kind, best[b], out[k]);
  }
  return best + blocks(count);
}

/* Which whole rows share a tile: their numbers on both sides, and the tiles; returns how many. */
static word pair_tiles(const Cells *one, const Cells *other, word *rows, word *other_rows, word *tile) {
  word n = 0;
  for (word i = 0, j = 0; i < one->n || j < other->n; n++) {
    const word mine = i < one->n && (j == other->n || one->tile[i] <= other->tile[j]);
    const word theirs = j < other->n && (i == one->n || other->tile[j] <= one->tile[i]);
    tile[n] = mine ? one->tile[i] : other->tile[j];
    rows[n] = mine ? WHOLE - i++ : NONE;
    other_rows[n] = theirs ? WHOLE - j++ : NONE;
  }
  return n;
}

/* The first row of a side in a split tile, and one past the last: its parts, or its whole tile as what was on time. */
static void rows_in(const Side *side, word tile, word *part, word *first, word *end) {
  *first = *part;
  while (*part < side->parts.n && side->parts.tile[*part] == tile) ++*part;
  *end = *part;
  if (*first < *end) return;
  const word i = position(side->whole.tile, side->whole.n, tile);
  if (i == side->whole.n || side->whole.tile[i] != tile) return;
  *first = WHOLE - i; *end = *first + 1;
}

static word arrival(const Side *side, word row) { return row <= WHOLE ? 0 : side->parts.available[row]; }

/* Which parts share tile and arrival, in tiles from `settled` on, as pair_tiles. */
static word pair_parts(const Side *one, const Side *other, word settled, word *rows, word *other_rows, word *tile,
                       word *available) {
  word p = position(one->parts.tile, one->parts.n, settled);
  word q = position(other->parts.tile, other->parts.n, settled), m = 0;
  while (p < one->parts.n || q < other->parts.n) {
    const word mine = p < one->parts.n && (q == other->parts.n || one->parts.tile[p] <= other->parts.tile[q]);
    const word at = mine ? one->parts.tile[p] : other->parts.tile[q];
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
  word words = HEADER + most_n + 2 * most_m, slots = 2;
  for (word s = 0; s < layout->states; s++) {
    words += most_n + blocks(most_n) + 2 + most_m;
    if (layout->kind[s] != DISTINCT) continue;
    const word pool = pool_size(&one->whole, s) + pool_size(&other->whole, s);
    const word listed = least(pool, layout->cap[s] + 1);
    words += 2 * pool + pool_size(&one->parts, s) + pool_size(&other->parts, s) + 2 * blocks(most_n) * listed + 1;
    if (set_size(listed) > slots) slots = set_size(listed);
  }
  if (!reserve(out, out->used + words) || !reserve(work, 2 * (most_n + most_m) + slots)) return NO_MEMORY;
  Set set = {work->words, slots, 0, 0};
  word *rows = work->words + slots, *other_rows = rows + most_n;
  word *record = out->words + out->used, *tile = record + HEADER;
  const word n = pair_tiles(&one->whole, &other->whole, rows, other_rows, tile);
  word *at = tile + n;
  for (word s = 0; s < layout->states; s++)
    at = write_state(layout, s, one, other, rows, other_rows, n, tile, &set, at);
  rows = other_rows + most_n; other_rows = rows + most_m;
  word *part_tile = at;
  const word m = pair_parts(one, other, settled, rows, other_rows, part_tile, part_tile + most_m);
  for (word k = 0; k < m; k++) part_tile[m + k] = part_tile[most_m + k];
  at = part_tile + 2 * m;
  for (word s = 0; s < layout->states; s++)
    at = write_state(layout, s, one, other, rows, other_rows, m, 0, &set, at);
  record[0] = FORMAT; record[1] = n; record[2] = m; record[3] = part_tile - record;
  out->used = at - out->words;
  return DONE;
}

/* Two empty sides with room for the states' pointers. */
static int two_sides(const Layout *layout, Side *sides, Memory *memory) {
  const word S = layout->states;
  if (!reserve(memory, 8 * S + 1)) return 0;
  const word **at = (const word **)memory->words;
  static const word nothing[1];
  for (word i = 0; i < 4; i++) {
    Cells *cells = i % 2 ? &sides[i / 2].parts : &sides[i / 2].whole;
    cells->n = 0; cells->tile = nothing; cells->available = nothing;
    cells->value = at; cells->pool = at + S;
    at += 2 * S;
  }
  return 1;
}

/* Records with more rows, one after the other in `out`: record i takes whole rows whole_first[i] to whole_first[i + 1]
   and parts likewise; ends[i] is where it ends. */
int add_rows(const Layout *layout, word count, const word *const *old, const Rows *whole, const word *whole_first,
             const Rows *parts, const word *parts_first, Memory *out, word *ends) {
  Memory work = {0, 0, 0}, pointers = {0, 0, 0};
  Side sides[2];
  int failed = two_sides(layout, sides, &pointers) ? DONE : NO_MEMORY;
  for (word i = 0; i < count && !failed; i++) {
    if (old[i] && old[i][0] != FORMAT) { failed = OTHER_FORMAT; break; }
    open_record(layout, old[i], sides);
    open_rows(layout, whole, whole_first[i], whole_first[i + 1], &sides[1].whole);
    open_rows(layout, parts, parts_first[i], parts_first[i + 1], &sides[1].parts);
    failed = join(layout, sides, sides + 1, EMPTY, out, &work);
    ends[i] = out->used;
  }
  free(work.words);
  free(pointers.words);
  return failed;
}

/* Records joined in pairs: of each the tiles in [range[2 * i], range[2 * i + 1]); as add_rows. */
int join_records(const Layout *layout, word count, const word *const *one, const word *range, const word *const *other,
                 const word *other_range, word settled, Memory *out, word *ends) {
  Memory work = {0, 0, 0}, pointers = {0, 0, 0};
  Side sides[2];
  int failed = two_sides(layout, sides, &pointers) ? DONE : NO_MEMORY;
  for (word i = 0; i < count && !failed; i++) {
    for (word side = 0; side < 2; side++) {
      const word *record = side ? other[i] : one[i], *between = (side ? other_range : range) + 2 * i;
      if (record && record[0] != FORMAT) failed = OTHER_FORMAT;
      if (failed || !record) { sides[side].whole.n = sides[side].parts.n = 0; continue; }
      open_record(layout, record, sides + side);
      narrow(layout, &sides[side].whole, between[0], between[1]);
      narrow(layout, &sides[side].parts, between[0], between[1]);
    }
    if (!failed) failed = join(layout, sides, sides + 1, settled, out, &work);
    ends[i] = out->used;
  }
  free(work.words);
  free(pointers.words);
  return failed;
}
