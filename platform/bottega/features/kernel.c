/* The online store's compiled kernel: windows of one entity at a moment, and the merging of tiles into its record.

   A record is an array of 64-bit words:

     format, n, m                      n tiles of on-time events, m rows of late ones
     tile[n]                           tile numbers, ascending
     for each state in turn
       additive:  total[n + 1]         running totals, total[0] = 0
       least, greatest, last_at:       value[n], best of each block of 32 tiles
       last:      value[n]
       distinct:  start[n + 1], pool   each tile's different values, ascending, at most cap + 1 of them
     late_tile[m], late_available[m]
     for each state in turn
       distinct:  start[m + 1], pool
       others:    value[m]

   platform/bottega/features/chunks.py computes the same with numpy; tests hold the two to equality. */

typedef long long word;
typedef __int128 wide;

enum { ADDITIVE, LEAST, GREATEST, LAST_AT, LAST, DISTINCT };
enum { BLOCK = 32, HEADER = 3, FORMAT = 2, SQUARE_BITS = 32, MOST_WINDOWS = 64, LATE_AT_ONCE = 256 };

typedef struct {
  word tile_us, states, windows, features, ttl;
  const word *kind, *cap, *neutral, *window;
  const word *numerator, *counted, *of_window, *squares, *divide, *scale;
  const double *fallback;
} Layout;

typedef struct {
  const word *tile, *available;
  const word *const *value;             /* [states] -> [rows]; of a distinct state its start[rows + 1] */
  const word *const *pool;              /* [states], of distinct states only */
} Rows;

enum { DIVIDE_ONE, DIVIDE_COUNT, DIVIDE_IF_ANY };

extern double sqrt(double);
extern void *malloc(unsigned long);
extern void free(void *);

static word blocks(word n) { return (n + BLOCK - 1) / BLOCK; }

static const word *skip_tiles(const Layout *layout, word state, word n, const word *at) {
  switch (layout->kind[state]) {
    case ADDITIVE: return at + n + 1;
    case LAST: return at + n;
    case DISTINCT: return at + n + 1 + at[n];
    default: return at + n + blocks(n);
  }
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

static word best_between(word kind, word neutral, const word *value, word n, word begin, word end) {
  const word *best = value + n;
  word found = neutral;
  while (begin < end && begin % BLOCK) found = better(kind, found, value[begin++]);
  for (; begin + BLOCK <= end; begin += BLOCK) found = better(kind, found, best[begin / BLOCK]);
  while (begin < end) found = better(kind, found, value[begin++]);
  return found;
}

/* The newest tile in [begin, end) with a value, or -1. */
static word newest(const word *at, word n, word neutral, word begin, word end) {
  const word *best = at + n;
  while (end > begin) {
    if (end % BLOCK == 0 && end - BLOCK >= begin && best[end / BLOCK - 1] == neutral) { end -= BLOCK; continue; }
    if (at[end - 1] != neutral) return end - 1;
    end--;
  }
  return -1;
}

static void take_last(word *last_at, word *last, word at, word value) {
  if (at > *last_at || (at == *last_at && value > *last)) { *last_at = at; *last = value; }
}

/* Add the late rows that lie in a window and are known. Windows are nested: a row in `depth` of them counts for the
   shortest of these, and from there on for every longer one. */
static void add_late(const Layout *layout, const word *late_tile, word m, word now, word at_us, word *totals,
                     word *newest_tile) {
  const word W = layout->windows, *available = late_tile + m, *state = available + m;
  word row[LATE_AT_ONCE], depth[LATE_AT_ONCE];
  for (word begin = 0; begin < m; begin += LATE_AT_ONCE) {
    word known = 0;
    for (word i = begin; i < m && i < begin + LATE_AT_ONCE; i++) {
      if (available[i] > at_us || late_tile[i] >= now || late_tile[i] < now - layout->window[0]) continue;
      word w = 1;
      while (w < W && late_tile[i] >= now - layout->window[w]) w++;
      row[known] = i; depth[known++] = w - 1;
      if (late_tile[i] > *newest_tile) *newest_tile = late_tile[i];
    }
    const word *value = state;
    for (word s = 0; known && s < layout->states; s++) {
      const word kind = layout->kind[s], neutral = layout->neutral[s];
      word *total = totals + s * W, share[MOST_WINDOWS], share_last[MOST_WINDOWS];
      if (kind == DISTINCT) { value += m + 1 + value[m]; continue; }
      if (kind == LAST) { value += m; continue; }
      for (word w = 0; w < W; w++) { share[w] = neutral; share_last[w] = neutral; }
      if (kind == ADDITIVE) for (word k = 0; k < known; k++) share[depth[k]] += value[row[k]];
      else if (kind == LAST_AT)
        for (word k = 0; k < known; k++) take_last(share + depth[k], share_last + depth[k], value[row[k]], value[m + row[k]]);
      else for (word k = 0; k < known; k++) share[depth[k]] = better(kind, share[depth[k]], value[row[k]]);
      word sum = neutral, last = neutral;
      for (word w = W - 1; w >= 0; w--) {
        if (kind == ADDITIVE) { sum += share[w]; total[w] += sum; }
        else if (kind == LAST_AT) { take_last(&sum, &last, share[w], share_last[w]); take_last(total + w, total + W + w, sum, last); }
        else { sum = better(kind, sum, share[w]); total[w] = better(kind, total[w], sum); }
      }
      value += m;
    }
  }
}

/* Add one record's share to totals[state * windows + w], and note the newest tile with an event. */
static void add_record(const Layout *layout, const word *record, word now, word at_us, word *totals, word *newest_tile) {
  const word n = record[1], m = record[2], *tile = record + HEADER, *state = tile + n;
  const word W = layout->windows, end = position(tile, n, now);
  word begin[MOST_WINDOWS];
  for (word w = 0; w < W; w++) begin[w] = position(tile, end, now - layout->window[w]);
  if (end > begin[0] && tile[end - 1] > *newest_tile) *newest_tile = tile[end - 1];
  for (word s = 0; s < layout->states; s++) {
    const word kind = layout->kind[s], neutral = layout->neutral[s];
    word *total = totals + s * W;
    if (kind == ADDITIVE) {
      for (word w = 0; w < W; w++) total[w] += state[end] - state[begin[w]];
    } else if (kind == LEAST || kind == GREATEST) {
      for (word w = 0; w < W; w++)
        total[w] = better(kind, total[w], best_between(kind, neutral, state, n, begin[w], end));
    } else if (kind == LAST_AT) {
      const word *value = skip_tiles(layout, s, n, state);
      for (word w = 0; w < W; w++) {
        word found = newest(state, n, neutral, begin[w], end);
        if (found >= 0) take_last(total + w, total + W + w, state[found], value[found]);
      }
    }
    state = skip_tiles(layout, s, n, state);
  }
  if (m) add_late(layout, state, m, now, at_us, totals, newest_tile);
}

typedef struct { word *slot; word size, count, cap; } Set;

enum { EMPTY = -0x7fffffffffffffffLL - 1 };

/* Add values to a set until it holds more than its cap. */
static void add_values(Set *set, const word *value, const word *end) {
  for (; value < end && set->count <= set->cap; value++) {
    unsigned long long hash = (unsigned long long)*value * 0x9e3779b97f4a7c15ULL;
    word at = (word)(hash >> 32) & (set->size - 1);
    while (set->slot[at] != EMPTY && set->slot[at] != *value) at = (at + 1) & (set->size - 1);
    if (set->slot[at] == EMPTY) { set->slot[at] = *value; set->count++; }
  }
}

/* How many different values a state has in a window over all records; -1 above its cap. */
static word distinct(const Layout *layout, const word *const *records, word count, word s, word now, word at_us,
                     word window, Set *set) {
  set->count = 0;
  for (word i = 0; i < set->size; i++) set->slot[i] = EMPTY;
  for (word r = 0; r < count; r++) {
    const word *record = records[r], n = record[1], m = record[2], *tile = record + HEADER, *state = tile + n;
    const word end = position(tile, n, now), begin = position(tile, n, now - window);
    for (word i = 0; i < layout->states; i++) {
      if (i == s && begin < end) add_values(set, state + n + 1 + state[begin], state + n + 1 + state[end]);
      state = skip_tiles(layout, i, n, state);
    }
    const word *late_tile = state, *available = state + m;
    state = available + m;
    for (word i = 0; i < layout->states; i++) {
      if (layout->kind[i] != DISTINCT) { state += m; continue; }
      for (word j = 0; i == s && j < m; j++)
        if (available[j] <= at_us && late_tile[j] < now && late_tile[j] >= now - window)
          add_values(set, state + m + 1 + state[j], state + m + 1 + state[j + 1]);
      state += m + 1 + state[m];
    }
  }
  return set->count > set->cap ? -1 : set->count;
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

/* Features of rows: values[f * rows + row], age_s[row] (NaN without events), and, where asked for, the window totals
   totals[(s * windows + w) * rows + row]. records[start[row]] to records[start[row + 1]] are the row's entity's records.
   Returns 0, 1 for a record of another format, 2 where memory is lacking. */
int read_windows(const Layout *layout, word rows, const word *at_us, const word *start, const word *const *records,
                 double *values, double *age_s, word *totals) {
  const word S = layout->states, W = layout->windows;
  word largest = 0;
  for (word s = 0; s < S; s++)
    if (layout->kind[s] == DISTINCT && layout->cap[s] > largest) largest = layout->cap[s];
  word *memory = malloc((unsigned long)(S * W + (largest ? 4 * (largest + 2) : 0) + 1) * sizeof(word));
  if (!memory) return 2;
  word *sums = memory;
  for (word row = 0; row < rows; row++) {
    const word at = at_us[row], rest = at % layout->tile_us, now = at / layout->tile_us - (rest < 0);
    const word *const *mine = records + start[row];
    const word count = start[row + 1] - start[row];
    word newest_tile = EMPTY;
    for (word s = 0; s < S; s++)
      for (word w = 0; w < W; w++) sums[s * W + w] = layout->neutral[s];
    for (word r = 0; r < count; r++) {
      if (mine[r][0] != FORMAT) { free(memory); return 1; }
      add_record(layout, mine[r], now, at, sums, &newest_tile);
    }
    for (word s = 0; largest && count && s < S; s++) {
      if (layout->kind[s] != DISTINCT) continue;
      Set set = {memory + S * W, 2, 0, layout->cap[s]};
      while (set.size < 2 * (layout->cap[s] + 2)) set.size *= 2;
      for (word w = 0; w < W; w++)
        sums[s * W + w] = distinct(layout, mine, count, s, now, at, layout->window[w], &set);
    }
    for (word f = 0; f < layout->features; f++) values[f * rows + row] = value_of(layout, f, sums);
    const word closed = (newest_tile + 1) * layout->tile_us;
    age_s[row] = newest_tile == EMPTY ? __builtin_nan("") : (double)(at - closed) / 1e6;
    for (word i = 0; totals && i < S * W; i++) totals[i * rows + row] = sums[i];
  }
  free(memory);
  return 0;
}

/* One entity's features at a moment from at most two records: values[features], then its age. Returns as read_windows. */
int read_one(const Layout *layout, word at_us, word count, const void *one, const void *other, double *values) {
  const word start[2] = {0, count}, *records[2] = {one, other};
  return read_windows(layout, 1, &at_us, start, records, values, values + layout->features, 0);
}

/* Two ascending lists of different values as one, at most `most` of them; returns how many. */
static word unite(const word *one, const word *one_end, const word *other, const word *other_end, word most, word *out) {
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

/* The record with more rows: on-time rows first to end (tiles ascending, each once) and late rows late_first to
   late_end, which are appended. Returns its words, for which `out` must have room. */
static word merge_record(const Layout *layout, const word *old, const Rows *fresh, word first, word end,
                         const Rows *late, word late_first, word late_end, word *out) {
  const word S = layout->states, old_n = old ? old[1] : 0, old_m = old ? old[2] : 0, m = old_m + late_end - late_first;
  const word *old_tile = old ? old + HEADER : 0;
  word *tile = out + HEADER, n = 0;
  for (word i = 0, j = first; i < old_n || j < end; n++) {
    if (j == end || (i < old_n && old_tile[i] <= fresh->tile[j])) {
      if (j < end && old_tile[i] == fresh->tile[j]) j++;
      tile[n] = old_tile[i++];
    } else tile[n] = fresh->tile[j++];
  }
  out[0] = FORMAT; out[1] = n; out[2] = m;
  word *state = tile + n;
  const word *was = old_tile + old_n;
  for (word s = 0; s < S; s++) {
    const word kind = layout->kind[s], neutral = layout->neutral[s], *value = fresh->value[s];
    word i = 0, j = first, used = 0;
    if (kind == ADDITIVE || kind == DISTINCT) state[0] = 0;
    for (word k = 0; k < n; k++) {
      const word has_old = i < old_n && old_tile[i] == tile[k], has_new = j < end && fresh->tile[j] == tile[k];
      if (kind == ADDITIVE) {
        state[k + 1] = state[k] + (has_old ? was[i + 1] - was[i] : 0) + (has_new ? value[j] : 0);
      } else if (kind == DISTINCT) {
        const word *old_pool = was + old_n + 1, *pool = fresh->pool[s];
        used += unite(has_old ? old_pool + was[i] : 0, has_old ? old_pool + was[i + 1] : 0,
                      has_new ? pool + value[j] : 0, has_new ? pool + value[j + 1] : 0,
                      layout->cap[s] + 1, state + n + 1 + used);
        state[k + 1] = used;
      } else if (kind == LAST) {
        /* the pair's times stand right before: last_at of both sides */
        const word *old_at = was - old_n - blocks(old_n), *new_at = fresh->value[s - 1];
        const word a = has_old ? old_at[i] : neutral, b = has_new ? new_at[j] : neutral;
        if (a > b || (a == b && has_old && (!has_new || was[i] >= value[j]))) state[k] = has_old ? was[i] : neutral;
        else state[k] = has_new ? value[j] : neutral;
      } else {
        word found = has_old ? was[i] : neutral;
        state[k] = has_new ? better(kind, found, value[j]) : found;
      }
      i += has_old; j += has_new;
    }
    if (kind == LEAST || kind == GREATEST || kind == LAST_AT)
      for (word b = 0; b < blocks(n); b++) {
        word best = neutral;
        for (word k = b * BLOCK; k < n && k < (b + 1) * BLOCK; k++) best = better(kind, best, state[k]);
        state[n + b] = best;
      }
    if (old) was = skip_tiles(layout, s, old_n, was);
    state = (word *)skip_tiles(layout, s, n, state);
  }
  for (word part = 0; part < 2; part++) {
    const word *given = part ? late->available : late->tile;
    for (word i = 0; i < old_m; i++) *state++ = was[i];
    for (word i = late_first; i < late_end; i++) *state++ = given[i];
    if (old) was += old_m;
  }
  for (word s = 0; s < S; s++) {
    const word *value = late->value[s];
    if (layout->kind[s] != DISTINCT) {
      for (word i = 0; i < old_m; i++) *state++ = was[i];
      for (word i = late_first; i < late_end; i++) *state++ = value[i];
      if (old) was += old_m;
      continue;
    }
    word used = 0, *pool = state + m + 1;
    const word *old_pool = was + old_m + 1;
    state[0] = 0;
    for (word i = 0; i < old_m; i++) {
      for (word v = was[i]; v < was[i + 1]; v++) pool[used++] = old_pool[v];
      state[i + 1] = used;
    }
    for (word i = late_first; i < late_end; i++) {
      for (word v = value[i]; v < value[i + 1]; v++) pool[used++] = late->pool[s][v];
      state[old_m + 1 + i - late_first] = used;
    }
    if (old) was += old_m + 1 + was[old_m];
    state = pool + used;
  }
  return state - out;
}

/* Records of several entities, each as merge_record, one after the other into out; ends[i] is where record i ends. */
void merge_records(const Layout *layout, word count, const word *const *old, const Rows *fresh, const word *first,
                   const Rows *late, const word *late_first, word *out, word *ends) {
  word at = 0;
  for (word i = 0; i < count; i++) {
    at += merge_record(layout, old[i], fresh, first[i], first[i + 1], late, late_first[i], late_first[i + 1], out + at);
    ends[i] = at;
  }
}
