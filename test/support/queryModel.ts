/**
 * A table that is written to by overlapping transactions, simulated together with what capture would record of it. The
 * simulation knows the truth, so that answers of reads can be compared with it.
 */
import * as FastCheck from "effect/FastCheck"
import { same } from "../../src/internal/core/json.js"
import type { AsOf, FilterInput, Operation } from "../../src/Query.js"
import type { ActionSeed, ChangeSeed, Log, TransactionSeed } from "./query.js"
import type { JsonObject } from "../../src/internal/core/jsonValue.js"

export const keys: ReadonlyArray<number> = [1, 2, 3, 4, 5]

/** One statement: what it does, to which keys, in which of the open transactions, and how long after the one before. */
export interface Step {
  readonly kind: "insert" | "update" | "delete" | "move" | "swap" | "shift" | "truncate" | "truncateRows"
  readonly table: "posts" | "notes"
  readonly key: number
  readonly other: number
  readonly slot: number
  /** Whether its transaction ends before the statement, so that it opens a new one. */
  readonly fresh: boolean
  readonly actor: number
  readonly correlation: number
  /** Microseconds since the statement before. */
  readonly gap: number
  /** Microseconds between the rows of a statement; 0 if one trigger captures them all. */
  readonly pace: number
}

const minute = 60_000_000

const steps: FastCheck.Arbitrary<ReadonlyArray<Step>> = FastCheck.array(
  FastCheck.record<Step>({
    kind: FastCheck.constantFrom(
      "insert",
      "insert",
      "insert",
      "update",
      "update",
      "delete",
      "move",
      "swap",
      "shift",
      "truncate",
      "truncateRows"
    ),
    table: FastCheck.constantFrom("posts", "posts", "posts", "notes"),
    key: FastCheck.constantFrom(...keys),
    other: FastCheck.constantFrom(...keys),
    slot: FastCheck.nat(2),
    fresh: FastCheck.boolean(),
    actor: FastCheck.nat(3),
    correlation: FastCheck.nat(4),
    gap: FastCheck.constantFrom(1, 7, 1_000_000, 10 * minute, 25 * 24 * 60 * minute),
    pace: FastCheck.constantFrom(0, 1)
  }),
  { minLength: 1, maxLength: 40, size: "max" }
)

type Rows = ReadonlyMap<string, JsonObject>

type Absence = "deleted" | { readonly movedTo: string }

/** The truth about a table between two statements. */
interface Snapshot {
  /** Microseconds from the start of the simulation at which the statement was captured first and last. */
  readonly from: number
  readonly to: number
  readonly table: string
  readonly rows: Rows
  readonly absences: ReadonlyMap<string, Absence>
  /** The rows before the statement. */
  readonly before: Rows
}

export interface Simulation {
  /** Microseconds from the start of the simulation from which on every change of a table is recorded and kept. */
  readonly knownSince: { readonly [table: string]: number }
  readonly log: Required<Log>
  readonly changes: ReadonlyArray<ChangeSeed & { readonly micros: number; readonly statement: number }>
  readonly snapshots: ReadonlyArray<Snapshot>
}

const start = Date.UTC(2026, 0, 2)

export const timeOf = (micros: number): string =>
  `${new Date(start + Math.floor(micros / 1000)).toISOString().slice(0, -1)}${String(micros % 1000).padStart(3, "0")}Z`

const actors = [
  null,
  { type: "user", id: "1", label: "Alice" },
  { type: "user", id: "2", impersonator: { type: "admin", id: "9", label: "service desk" } },
  { type: "job", id: "1" }
] as const

export interface Plan {
  readonly steps: ReadonlyArray<Step>
  /** How many statements happen before capture begins. */
  readonly uncaptured: number
  readonly baseline: boolean
  /** Whether all rows are inserted with the same content, so that only capture's instants tell those apart that pass each other. */
  readonly alike: boolean
}

export const plans: FastCheck.Arbitrary<Plan> = FastCheck.record({
  rows: FastCheck.subarray([...keys]),
  steps,
  uncaptured: FastCheck.constantFrom(0, 0, 3, 8),
  baseline: FastCheck.boolean(),
  alike: FastCheck.boolean()
}).map(({ rows, steps, ...rest }) => ({
  ...rest,
  // Rows to begin with, or most statements would find none to work on.
  steps: [
    ...rows.map((key): Step => ({
      kind: "insert",
      table: "posts",
      key,
      other: key,
      slot: key % 2,
      fresh: false,
      actor: 1,
      correlation: 1,
      gap: 11,
      pace: 0
    })),
    ...steps
  ]
}))

export const simulate = (plan: Plan): Simulation => {
  const transactions: Array<TransactionSeed> = []
  const actions: Array<ActionSeed> = []
  const changes: Array<ChangeSeed & { micros: number; statement: number }> = []
  const snapshots: Array<Snapshot> = []
  const open = new Map<number, string>()
  const tables = new Map([
    ["posts", { rows: new Map<string, JsonObject>(), absences: new Map<string, Absence>() }],
    ["notes", { rows: new Map<string, JsonObject>(), absences: new Map<string, Absence>() }]
  ])
  let now = 0
  let tags = 0
  let capturedSince = 0

  const transaction = (step: Pick<Step, "slot" | "actor" | "correlation">): string => {
    const openTransaction = open.get(step.slot)
    if (openTransaction !== undefined) {
      return openTransaction
    }
    const id = String(transactions.length + 1)
    // An action may carry the correlation, or the transaction alone, or both.
    const correlation = step.correlation === 0 ? null : `c${step.correlation % 2}`
    const acts = step.correlation === 1 || step.correlation === 2
    if (acts) {
      const name = step.correlation === 1 ? "did" : "made"
      const status = actions.length % 3 === 2 ? "error" : "ok"
      actions.push({ id: String(actions.length + 1), transactionId: id, name, status, correlationId: correlation })
    }
    transactions.push({
      id,
      occurredAt: timeOf(now),
      actor: actors[step.actor] ?? null,
      correlationId: correlation,
      requestId: `r${transactions.length % 3}`,
      jobId: `j${transactions.length % 4}`,
      traceId: `t${transactions.length % 5}`,
      source: transactions.length % 2 === 0 ? "web" : "worker",
      dbUser: transactions.length % 7 === 6 ? "psql" : "app",
      meta: { step: { kind: step.slot } },
      actionId: acts ? String(actions.length) : null
    })
    open.set(step.slot, id)
    return id
  }

  plan.steps.forEach((step, index) => {
    const captured = index >= plan.uncaptured
    if (index === plan.uncaptured && index > 0) {
      capturedSince = now + 1
    }
    if (index === plan.uncaptured && index > 0 && plan.baseline) {
      now += 5
      for (const [table, { rows }] of tables) {
        const before = new Map(rows)
        const from = now
        for (const [key, row] of rows) {
          changes.push({
            id: String(changes.length + 1),
            transactionId: transaction({ slot: 9, actor: 0, correlation: 0 }),
            at: timeOf(now),
            micros: now,
            statement: snapshots.length,
            table,
            op: "baseline",
            key,
            after: row
          })
        }
        snapshots.push({
          from,
          to: now,
          table,
          rows: new Map(rows),
          absences: new Map(tables.get(table)?.absences),
          before
        })
      }
      now += 5
    }
    now += step.gap
    const table = tables.get(step.table)
    if (table === undefined) {
      return
    }
    const { absences, rows } = table
    const before = new Map(rows)
    const from = now
    let last = now
    let wrote = false
    if (step.fresh) {
      open.delete(step.slot)
    }

    const record = (op: Operation, change: Partial<ChangeSeed>): void => {
      if (captured) {
        const transactionId = transaction(step)
        if (wrote) {
          now += plan.alike ? 0 : step.pace
        }
        changes.push({
          id: String(changes.length + 1),
          transactionId,
          at: timeOf(now),
          micros: now,
          statement: snapshots.length,
          table: step.table,
          op,
          ...change
        })
      }
      wrote = true
      last = now
    }
    const remove = (key: string, why: Absence): void => {
      rows.delete(key)
      absences.set(key, why)
    }
    /** One UPDATE that gives rows new keys, all at once. */
    const move = (moves: ReadonlyArray<readonly [from: string, to: string]>): void => {
      const moved = moves.map(([key, to]) => [key, to, before.get(key) ?? {}] as const)
      for (const [key, to] of moved) {
        remove(key, { movedTo: to })
      }
      for (const [key, to, row] of moved) {
        const after = { ...row, id: Number(to) }
        rows.set(to, after)
        record("update", { key: to, previousKey: key, fields: ["id"], from: { id: Number(key) }, after })
      }
    }

    const key = String(step.key)
    const other = String(step.other)
    const row = rows.get(key)
    switch (step.kind) {
      case "insert":
        if (row === undefined) {
          const made = { id: step.key, tag: plan.alike ? 0 : ++tags, v: 0 }
          rows.set(key, made)
          record("insert", { key, after: made })
        }
        break
      case "update":
        if (row !== undefined) {
          const after = { ...row, v: Number(row["v"]) + 1 }
          rows.set(key, after)
          record("update", { key, fields: ["v"], from: { v: row["v"] ?? null }, after })
        }
        break
      case "delete":
        if (row !== undefined) {
          remove(key, "deleted")
          record("delete", { key, from: row })
        }
        break
      case "move":
        if (row !== undefined && !rows.has(other)) {
          move([[key, other]])
        }
        break
      case "swap":
        if (row !== undefined && rows.has(other) && other !== key) {
          move([
            [key, other],
            [other, key]
          ])
        }
        break
      case "shift": {
        const shifted = [...rows.keys()].sort()
        if (shifted.length > 0) {
          move(
            (step.other % 2 === 0 ? shifted : shifted.reverse()).map((one) => [one, String(Number(one) + 1)] as const)
          )
        }
        break
      }
      case "truncate":
      case "truncateRows":
        if (rows.size > 0) {
          const whole = step.kind === "truncate"
          if (whole) {
            record("truncate", { key: null, details: { rowCount: rows.size } })
          }
          for (const [one, image] of before) {
            remove(one, "deleted")
            if (!whole) {
              record("truncate", { key: one, from: image })
            }
          }
        }
        break
    }
    if (wrote) {
      snapshots.push({
        from,
        to: last,
        table: step.table,
        rows: new Map(rows),
        absences: new Map(absences),
        before
      })
    }
  })
  return {
    log: { transactions, actions, changes, capturedSince: timeOf(capturedSince) },
    knownSince: { posts: capturedSince, notes: capturedSince },
    changes,
    snapshots
  }
}

/** Instants that lie between statements: each statement's end, unless another one is under way then. */
export const instants = ({ snapshots }: Simulation): ReadonlyArray<number> => {
  const ends = snapshots.flatMap(({ to }) => [to, to + 3])
  return [...new Set(ends)].filter((time) => snapshots.every(({ from, to }) => time < from || time >= to))
}

const ofKey = ({ changes }: Simulation, table: string, key: string) =>
  changes.filter((change) => change.table === table && (change.key === key || change.previousKey === key))

/** What an as-of has to answer. */
export const expectedAsOf = (simulation: Simulation, table: string, key: string, micros: number): AsOf => {
  const at = timeOf(micros)
  if (micros < (simulation.knownSince[table] ?? 0)) {
    return { _tag: "BeforeCapture", at }
  }
  const own = ofKey(simulation, table, key)
  const truth = simulation.snapshots.filter((snapshot) => snapshot.table === table && snapshot.to <= micros).at(-1)
  const row = truth?.rows.get(key)
  if (own.some((change) => change.micros <= micros)) {
    const absence = truth?.absences.get(key)
    return row !== undefined
      ? { _tag: "Present", row, at }
      : absence === "deleted" || absence === undefined
        ? { _tag: "Deleted", at }
        : { _tag: "MovedTo", key: absence.movedTo, rowPk: { id: absence.movedTo }, at }
  }
  const [first] = own
  const isCut = simulation.changes.some(
    (change) =>
      change.table === table &&
      change.op === "truncate" &&
      change.key === null &&
      change.micros > micros &&
      first !== undefined &&
      byTime(change, first) < 0
  )
  if (first === undefined || first.op === "baseline" || isCut) {
    return { _tag: "BeforeCapture", at }
  }
  // What is rebuilt is how the row truly was.
  return row === undefined ? { _tag: "NotYetCreated", at } : { _tag: "Present", row, rebuilt: true, at }
}

/** The order of captures. */
export const byTime = (a: { micros: number; id: string }, b: { micros: number; id: string }): number =>
  a.micros - b.micros || Number(a.id) - Number(b.id)

/** The ids that a history has to show, oldest first. */
export const expectedHistory = (simulation: Simulation, table: string, key: string): ReadonlyArray<string> => {
  const own = ofKey(simulation, table, key)
  const [first] = own
  const truncates = simulation.changes.filter(
    (change) =>
      change.table === table &&
      change.op === "truncate" &&
      change.key === null &&
      first !== undefined &&
      byTime(first, change) < 0 &&
      simulation.snapshots[change.statement]?.before.has(key) === true
  )
  return [...own, ...truncates].sort(byTime).map((change) => change.id)
}

/** One or several of a filter, as a list. */
export const listed = <A extends string>(given: A | ReadonlyArray<A> | undefined): ReadonlyArray<A> | undefined =>
  typeof given === "string" ? [given] : given

/** Whether an image has these fields with these values. */
export const contains = (image: JsonObject | null | undefined, fields: JsonObject): boolean =>
  image !== null && image !== undefined && Object.entries(fields).every(([field, value]) => image[field] === value)

/** The rows before and after a change. */
const images = (change: ChangeSeed): ReadonlyArray<JsonObject | null | undefined> => [
  change.after,
  change.op === "update" ? { ...change.after, ...change.from } : change.from
]

/** The changes that a filter lets through. */
const matching = (simulation: Simulation, filter: FilterInput) => {
  const { actions, transactions } = simulation.log
  const ops = listed(filter.op)
  const tables = listed(filter.table)
  const names = listed(filter.action)
  const fields = listed(filter.changedField)
  return simulation.changes.filter((change) => {
    const transaction = transactions.find(({ id }) => id === change.transactionId)
    const actor = transaction?.actor ?? null
    const impersonator = actor?.impersonator
    const acts = actions.filter((action) => action.transactionId === change.transactionId)
    return (
      (tables === undefined || tables.includes(change.table ?? "")) &&
      (filter.schema === undefined || filter.schema === "public") &&
      (filter.key === undefined || filter.key === change.key || filter.key === change.previousKey) &&
      (ops === undefined || ops.includes(change.op)) &&
      (filter.contains === undefined || images(change).some((image) => contains(image, filter.contains ?? {}))) &&
      (fields === undefined || fields.some((field) => change.fields?.includes(field) === true)) &&
      (filter.actor === undefined ||
        (actor?.type === filter.actor.type && (filter.actor.id === undefined || actor.id === filter.actor.id))) &&
      (filter.impersonator === undefined ||
        (impersonator?.type === filter.impersonator.type &&
          (filter.impersonator.id === undefined || impersonator.id === filter.impersonator.id))) &&
      (filter.actorLabel === undefined ||
        [actor?.label, impersonator?.label].some(
          (label) => label?.toLowerCase().includes((filter.actorLabel ?? "").toLowerCase()) === true
        )) &&
      (filter.unattributed !== true || actor === null) &&
      ((names === undefined && filter.actionStatus === undefined) ||
        acts.some(
          (action) =>
            (names === undefined || names.includes(action.name)) &&
            (filter.actionStatus === undefined || action.status === filter.actionStatus)
        )) &&
      (filter.correlationId === undefined ||
        acts.some((action) => action.correlationId === filter.correlationId) ||
        (filter.includeCaptureOnly === true &&
          acts.length === 0 &&
          transaction?.correlationId === filter.correlationId)) &&
      (filter.requestId === undefined || filter.requestId === transaction?.requestId) &&
      (filter.jobId === undefined || filter.jobId === transaction?.jobId) &&
      (filter.traceId === undefined || filter.traceId === transaction?.traceId) &&
      (filter.source === undefined || filter.source === transaction?.source) &&
      (filter.dbUser === undefined || filter.dbUser === transaction?.dbUser) &&
      (filter.meta === undefined || same(filter.meta, transaction?.meta ?? {})) &&
      (filter.transactionId === undefined || filter.transactionId === change.transactionId) &&
      (filter.from === undefined || change.at >= String(filter.from)) &&
      (filter.to === undefined || change.at <= String(filter.to))
    )
  })
}

/** The order of transactions. */
export const byTransaction = (a: ChangeSeed, b: ChangeSeed): number =>
  Number(a.transactionId) - Number(b.transactionId) || Number(a.id) - Number(b.id)

/** The ids that a timeline has to show, in its order. */
export const expectedTimeline = (simulation: Simulation, filter: FilterInput): ReadonlyArray<string> => {
  const sorted = matching(simulation, filter)
    .sort(filter.key === undefined ? byTransaction : byTime)
    .map((change) => change.id)
  return filter.order === "oldest" ? sorted : sorted.reverse()
}

/** The ids that a listing of transactions has to show, in its order. */
export const expectedTransactions = (simulation: Simulation, filter: FilterInput): ReadonlyArray<string> => {
  const sorted = [
    ...new Set(
      matching(simulation, filter)
        .sort(byTransaction)
        .map((change) => change.transactionId)
    )
  ]
  return filter.order === "oldest" ? sorted : sorted.reverse()
}

/** The simulation after retention has removed every change before an instant. */
export const purged = (simulation: Simulation, micros: number): Simulation => ({
  ...simulation,
  knownSince: Object.fromEntries(
    Object.entries(simulation.knownSince).map(([table, since]) => [
      table,
      Math.max(
        since,
        ...simulation.changes
          .filter((change) => change.table === table && change.micros < micros)
          .map((change) => change.micros + 1)
      )
    ])
  ),
  changes: simulation.changes.filter((change) => change.micros >= micros)
})

/** The rows that a table has to show at an instant, by key in the order of their texts. */
export const expectedRows = (
  simulation: Simulation,
  table: string,
  micros: number
): ReadonlyArray<readonly [key: string, row: JsonObject, mark: { readonly rebuilt?: true }]> => {
  const simulatedChanges = simulation.changes
    .filter((change) => change.table === table)
    .flatMap(({ key, previousKey }) => [key, previousKey])
  return [...new Set(simulatedChanges)]
    .filter((key) => typeof key === "string")
    .sort()
    .flatMap((key) => {
      const answer = expectedAsOf(simulation, table, key, micros)
      return answer._tag === "Present"
        ? [[key, answer.row, answer.rebuilt === true ? { rebuilt: true as const } : {}] as const]
        : []
    })
}
