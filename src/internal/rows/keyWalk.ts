/**
 * Walks over the keys of a table for a page of its rows: which keys to look at next, how many at once, and when a page has read enough.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { ReadError } from "../core/request.js"
import type { Storage } from "../record/storage.js"
import type { Table } from "../record/tables.js"
import { type Candidates, hasFew, keysOfFew, type Range, stretchOf } from "./candidates.js"
import type { Around } from "./near.js"
import { sharingOf } from "./standing.js"

/** What one page may look at. */
export interface RowsBudget {
  /** Entries of the index of keys, in all. */
  readonly entries: number
  /** Entries that the first statement reads. Later ones read up to eight times as many. */
  readonly stretch: number
  /** Keys whose rows are looked at. */
  readonly keys: number
  /**
   * A table with at most this many changes under its names counts as a table of few changes. If the index of keys mostly has
   * keys of other tables, these changes are read instead. If there are at most a quarter as many, they are read from the start.
   */
  readonly few: number
}

export class Budget extends Context.Reference<Budget>()("threadline/Query/RowsBudget", {
  defaultValue: (): RowsBudget => ({ entries: 40_000, stretch: 4000, keys: 2000, few: 20_000 })
}) {}

/**
 * How many rows to expect at a key, 0 to 1. Few keys had a row if all of their changes are after the instant: `late` is their
 * share.
 */
const chance = (key: string, nearestByKey: Candidates["nearestByKey"], late: number): number => {
  const near = nearestByKey.get(key)
  return near === undefined ? (nearestByKey.has(key) ? 0 : 1) : near.side === "before" ? 1 : late
}

const chances = ({ keys, nearestByKey }: Candidates, late: number): number =>
  keys.reduce((sum, key) => sum + chance(key, nearestByKey, late), 0)

/** Where a slice of keys ends at which about `slice` rows can be expected. */
const endOf = ({ keys, nearestByKey }: Candidates, from: number, slice: number, late: number): number => {
  let end = from
  for (let left = slice; left > 0 && end < keys.length && end - from < 1000; end++) {
    left -= chance(keys[end] ?? "", nearestByKey, late)
  }
  return end
}

/** How many rows to expect at keys whose changes are all after the instant, learned from those that were looked at. */
const makeLate = (first: number) => {
  let keys = 0
  let rows = 0
  return {
    /** A guess for the first 50 keys. */
    share: (): number => (keys < 50 ? first : Math.max(1 / 32, rows / keys)),
    note: (hadRow: boolean): void => {
      keys += 1
      rows += hadRow ? 1 : 0
    }
  }
}

/** What a page looks for. */
export interface Request {
  readonly table: Table
  readonly around: Around
  readonly range: Range
  /** The most rows of the page. */
  readonly limit: number
  /** Keys that the caller named, in their order: then no others are looked at, and all of them are. */
  readonly named: ReadonlyArray<string> | undefined
  /** All keys of the range are looked at, however many there are. */
  readonly exhaustive: boolean
}

/** Keys to look at; or that there are no more, or that a page has read enough, up to a key. */
export type Step =
  | {
      readonly _tag: "Slice"
      readonly keys: ReadonlyArray<string>
      /** The nearest changes of keys; undefined if rows may share a key for a while, so that these do not tell how a row stood. */
      readonly nearestByKey: Candidates["nearestByKey"] | undefined
    }
  | { readonly _tag: "End" }
  | { readonly _tag: "Enough"; readonly upTo: string }

export interface Walk {
  /** Takes how many rows the page has by now. */
  readonly next: (found: number) => Effect.Effect<Step, ReadError>
  /** Notes whether a key of the last slice had a row. */
  readonly note: (key: string, hadRow: boolean) => void
}

type Late = ReturnType<typeof makeLate>

/** Gathers the candidates of a page: as many stretches of the index as it may need, or all keys of a table of few changes. */
const makeGathering = (storage: Storage, { around, limit, range, table }: Request, budget: RowsBudget, late: Late) => {
  let entries = 0
  /** Known once for a page: whether the changes of the table are few enough to read them all. */
  let isOfFew: boolean | undefined

  const isSpent = (): boolean => entries >= budget.entries

  const stretchBehind = Effect.fnUntraced(function* (key: string | undefined): Effect.fn.Return<Candidates, ReadError> {
    const left = budget.entries - entries
    const reach = Math.min(Math.max(entries, budget.stretch), 8 * budget.stretch, left > 0 ? left : budget.entries)
    entries += reach
    return yield* stretchOf(storage, table, { after: key, before: range.before }, reach, around)
  })

  const behind = Effect.fnUntraced(function* (
    after: string | undefined,
    found: number
  ): Effect.fn.Return<Candidates, ReadError> {
    const isFirst = entries === 0
    const few = keysOfFew(storage, table, { after, before: range.before }, budget.keys, around)
    isOfFew ??= yield* hasFew(storage, table, Math.floor(budget.few / 4))
    if (isOfFew) {
      return yield* few
    }
    let gathered = yield* stretchBehind(after)
    while (
      gathered.upTo !== undefined &&
      !isSpent() &&
      gathered.keys.length < budget.keys &&
      found + chances(gathered, late.share()) <= limit
    ) {
      // After two stretches it is known whether the table is rare among the others. One may lie within a busy row.
      if (isFirst && entries === 2 * budget.stretch && gathered.keys.length <= limit) {
        isOfFew = yield* hasFew(storage, table, budget.few)
        if (isOfFew) {
          return yield* few
        }
      }
      const more = yield* stretchBehind(gathered.upTo)
      gathered = {
        keys: [...gathered.keys, ...more.keys],
        nearestByKey: new Map([...gathered.nearestByKey, ...more.nearestByKey]),
        upTo: more.upTo
      }
    }
    return gathered
  })

  return {
    /** Whether the page has read all entries that it may. */
    isSpent,
    /** The candidates behind a key, for a page that has `found` rows by now. */
    behind
  }
}

/** Takes the keys to look at from what was gathered: slices, which grow because few rows may match. */
const makeSlicing = ({ exhaustive, limit, named }: Request, budget: RowsBudget, late: Late) => {
  const isUnbounded = exhaustive || named !== undefined
  let keysLookedAt = 0
  let slice = limit + 1
  return {
    /** Whether the page has looked at all keys that it may. */
    isSpent: (): boolean => !isUnbounded && keysLookedAt >= budget.keys,
    /** The next keys, from a place on. `isShared`: whether rows may share a key for a while. */
    next: (gathered: Candidates, from: number, isShared: boolean | undefined): ReadonlyArray<string> => {
      const left = isUnbounded ? gathered.keys.length : budget.keys - keysLookedAt
      const end = isShared === false ? endOf(gathered, from, slice, late.share()) : from + slice
      const taken = gathered.keys.slice(from, Math.min(end, from + left))
      keysLookedAt += taken.length
      // If few rows match, more rows are looked at together.
      slice = Math.min(500, slice * 4)
      return taken
    }
  }
}

/** Begins behind the range's `after`. */
export const makeWalk = Effect.fnUntraced(function* (storage: Storage, request: Request): Effect.fn.Return<Walk> {
  const { exhaustive, named, range, table } = request
  const budget = yield* Budget
  // Of a table that always had one name, only keys come that probably had a row.
  const late = makeLate(table.spans.length === 1 ? 1 : 0.25)
  const gathering = makeGathering(storage, request, budget, late)
  const slicing = makeSlicing(request, budget, late)
  let { after } = range
  let candidates: Candidates | undefined
  let from = 0
  /** Known once for a page, and asked only if there are keys: whether rows may share a key for a while. */
  let isShared: boolean | undefined

  const sliceOf = (gathered: Candidates): Step => {
    if (slicing.isSpent() && after !== undefined) {
      return { _tag: "Enough", upTo: after }
    }
    const keys = slicing.next(gathered, from, isShared)
    from += keys.length
    after = keys.at(-1)
    return { _tag: "Slice", keys, nearestByKey: isShared === false ? gathered.nearestByKey : undefined }
  }

  return {
    next: Effect.fnUntraced(function* (found): Effect.fn.Return<Step, ReadError> {
      for (;;) {
        if (candidates !== undefined && from < candidates.keys.length) {
          return sliceOf(candidates)
        }
        if (candidates !== undefined) {
          const { upTo } = candidates
          if (upTo === undefined) {
            return { _tag: "End" }
          }
          after = upTo
          if (!exhaustive && (gathering.isSpent() || slicing.isSpent())) {
            return { _tag: "Enough", upTo }
          }
        }
        candidates =
          named === undefined
            ? yield* gathering.behind(after, found)
            : { keys: named, upTo: undefined, nearestByKey: new Map() }
        from = 0
        isShared ??= candidates.nearestByKey.size > 0 ? (yield* sharingOf(storage, table)) === "several" : undefined
      }
    }),
    note: (key, hadRow) => {
      if (candidates?.nearestByKey.get(key)?.side === "after") {
        late.note(hadRow)
      }
    }
  }
})
