/**
 * What a reader under a scope may see, computed change by change from a simulated log: every scope is written twice, as an SQL
 * condition and as a predicate.
 */
import { canonical } from "../../src/internal/core/json.js"
import type * as Query from "../../src/Query.js"
import type { ActionSeed, ChangeSeed, TransactionSeed } from "./query.js"
import { byTime, byTransaction, contains, listed, type Simulation } from "./queryModel.js"
import { isObject, type JsonObject, type JsonValue } from "../../src/internal/core/jsonValue.js"

type Side = "after" | "before"

/** One side of a change, or an action, as a scope sees it. */
export interface Judged {
  readonly table: string
  readonly op: string
  readonly rowKey: string | null
  readonly image: JsonObject
  readonly before: JsonObject | null
  readonly transaction: TransactionSeed | undefined
}

export interface TwiceWritten {
  readonly name: string
  readonly scope: Query.ReadScope
  readonly change: (judged: Judged) => boolean
  readonly action: (action: ActionSeed) => boolean
}

const isEven = (image: JsonObject | null, field: string): boolean => Number(image?.[field] ?? 1) % 2 === 0

/** Keys that the host's own table `shared_keys` has, under an alias that statements of reads use too. */
export const sharedKeys: ReadonlyArray<string> = ["1", "2", "3"]

export const scopes: ReadonlyArray<TwiceWritten> = [
  {
    name: "rows by their image",
    scope: (...[surface, columns]) =>
      surface === "changes"
        ? columns.sql`(${columns.image} ->> 'v')::int % 2 = 0`
        : columns.sql`${columns.name} = ${"did"}`,
    change: ({ image }) => isEven(image, "v"),
    action: ({ name }) => name === "did"
  },
  {
    name: "rows by their key",
    scope: (...[surface, columns]) =>
      surface === "changes" ? columns.sql`${columns.rowKey} in ${columns.sql.in(["1", "2", "5"])}` : true,
    change: ({ rowKey }) => ["1", "2", "5"].includes(rowKey ?? ""),
    action: () => true
  },
  {
    name: "what an actor did",
    scope: (...[surface, columns]) => surface === "changes" && columns.sql`${columns.actorId} = ${"1"}`,
    change: ({ transaction }) => transaction?.actor?.id === "1",
    action: () => false
  },
  {
    name: "a correlation",
    scope: (_, { correlationId, sql }) => sql`${correlationId} = ${"c1"}`,
    change: ({ transaction }) => transaction?.correlationId === "c1",
    action: ({ correlationId }) => correlationId === "c1"
  },
  {
    name: "a table and no action but failures",
    scope: (...[surface, columns]) =>
      surface === "changes" ? columns.sql`${columns.tableName} = ${"posts"}` : columns.sql`${columns.status} = 'error'`,
    change: ({ table }) => table === "posts",
    action: ({ status }) => status === "error"
  },
  {
    name: "keys of a table of the host's",
    scope: (...[surface, columns]) =>
      surface === "changes"
        ? columns.sql`exists (select from shared_keys c where c.key = ${columns.rowKey})`
        : columns.sql`exists (select from shared_keys a where a.key = ${columns.data} ->> 'about')`,
    change: ({ rowKey }) => sharedKeys.includes(rowKey ?? ""),
    action: ({ data }) => sharedKeys.includes(aboutOf(data))
  },
  {
    name: "rows that were visible before",
    scope: (...[surface, columns]) =>
      surface === "changes"
        ? columns.sql`coalesce((${columns.before} ->> 'v')::int % 2 = 0, true) and ${columns.op} <> 'baseline'`
        : columns.sql`${columns.data} ->> 'about' = ${"2"}`,
    change: ({ before, op }) => (before === null || isEven(before, "v")) && op !== "baseline",
    action: ({ data }) => aboutOf(data) === "2"
  },
  {
    name: "only actions",
    scope: (...[surface]) => surface === "actions",
    change: () => false,
    action: () => true
  }
]

const aboutOf = (data: JsonValue | undefined): string => {
  const about = isObject(data) ? data["about"] : undefined
  return typeof about === "string" ? about : ""
}

const imageOf = (change: ChangeSeed, side: Side): JsonObject | null =>
  side === "after" ? (change.after ?? change.from ?? null) : beforeOf(change)

const beforeOf = (change: ChangeSeed): JsonObject | null =>
  change.op === "update"
    ? { ...change.after, ...change.from }
    : change.op === "delete" || change.op === "truncate"
      ? (change.from ?? null)
      : null

/** What an answer tells about a change: `before` only if the row before it is visible. */
export interface Told {
  readonly id: string
  readonly previousRowKey: string | null
  readonly changedFrom: string | null
}

/** A change of the model as an answer tells it, to compare. */
export const toldOf = ({ changedFrom, id, previousRowKey }: Query.Change): Told => ({
  id,
  previousRowKey,
  changedFrom: changedFrom === null ? null : canonical(changedFrom)
})

/** What an answer shows of a transaction and of its actions. */
export interface Shown {
  readonly id: string
  readonly action: string | null
  readonly actor: string | null
  readonly correlationId: string | null
  readonly requestId: string | null
  readonly source: string | null
  readonly dbUser: string | null
}

/** What an answer shows of a transaction, to compare. */
export const shownOf = ({
  action,
  transaction: { actor, correlationId, dbUser, id, requestId, source }
}: Pick<Query.Change, "action" | "transaction">): Shown => ({
  id,
  action: action?.id ?? null,
  actor: actor !== null && "id" in actor ? actor.id : null,
  correlationId,
  requestId,
  source,
  dbUser
})

/** The reader of a simulation under a scope. */
export const reader = (simulation: Simulation, { action, change }: TwiceWritten) => {
  const { actions, transactions } = simulation.log
  const transactionOf = (id: string | null) => transactions.find((one) => one.id === id)

  const isVisible = (one: ChangeSeed, side: Side): boolean => {
    const image = imageOf(one, side)
    return (
      image !== null &&
      change({
        table: one.table ?? "",
        op: one.op,
        rowKey: (side === "before" ? one.previousKey : undefined) ?? one.key ?? null,
        image,
        before: beforeOf(one),
        transaction: transactionOf(one.transactionId)
      })
    )
  }
  const isBeforeShown = (one: ChangeSeed): boolean => one.op !== "update" || isVisible(one, "before")
  const visibleChanges = simulation.changes.filter((one) => isVisible(one, "after"))
  const visibleActions = actions.filter(action)
  const actionsOf = (id: string) => visibleActions.filter(({ transactionId }) => transactionId === id)

  const toldOf = (one: ChangeSeed): Told => ({
    id: one.id,
    previousRowKey: isBeforeShown(one) ? (one.previousKey ?? null) : null,
    changedFrom: isBeforeShown(one) && one.from !== undefined && one.from !== null ? canonical(one.from) : null
  })

  /** Whether the visible part of a transaction matches a filter. */
  const isAsked = (id: string, filter: Query.FilterInput): boolean => {
    const transaction = transactionOf(id)
    const actor = transaction?.actor ?? null
    const acts = actionsOf(id)
    const names = listed(filter.action)
    return (
      (filter.actor === undefined ||
        (actor?.type === filter.actor.type && (filter.actor.id === undefined || actor.id === filter.actor.id))) &&
      (filter.unattributed !== true || actor === null) &&
      ((names === undefined && filter.actionStatus === undefined) ||
        acts.some(
          ({ name, status }) =>
            (names === undefined || names.includes(name)) &&
            (filter.actionStatus === undefined || status === filter.actionStatus)
        )) &&
      (filter.correlationId === undefined ||
        acts.some(({ correlationId }) => correlationId === filter.correlationId) ||
        (filter.includeCaptureOnly === true &&
          acts.length === 0 &&
          transaction?.correlationId === filter.correlationId)) &&
      (filter.requestId === undefined || filter.requestId === transaction?.requestId) &&
      (filter.source === undefined || filter.source === transaction?.source) &&
      (filter.transactionId === undefined || filter.transactionId === id)
    )
  }

  const isIn = (at: string, { from, to }: Query.FilterInput): boolean =>
    (from === undefined || at >= String(from)) && (to === undefined || at <= String(to))

  const matching = (filter: Query.FilterInput) => {
    const tables = listed(filter.table)
    const ops = listed(filter.op)
    const fields = listed(filter.changedField)
    return visibleChanges.filter(
      (one) =>
        isAsked(one.transactionId, filter) &&
        isIn(one.at, filter) &&
        (tables === undefined || tables.includes(one.table ?? "")) &&
        (ops === undefined || ops.includes(one.op)) &&
        (filter.key === undefined ||
          filter.key === one.key ||
          (filter.key === one.previousKey && isBeforeShown(one))) &&
        (filter.contains === undefined ||
          contains(one.after ?? null, filter.contains) ||
          (isBeforeShown(one) && contains(beforeOf(one), filter.contains))) &&
        (fields === undefined || (isBeforeShown(one) && fields.some((field) => one.fields?.includes(field) === true)))
    )
  }

  const ordered = <A>(oldestFirst: ReadonlyArray<A>, { order }: Query.FilterInput): ReadonlyArray<A> =>
    order === "oldest" ? oldestFirst : [...oldestFirst].reverse()

  const seesContext = (id: string): boolean => visibleChanges.some(({ transactionId }) => transactionId === id)

  const firstAction = (id: string): ActionSeed | undefined =>
    [...actionsOf(id)].sort((left, right) => Number(left.id) - Number(right.id))[0]

  /** Of a transaction without a visible change: whether what is shown in place of its context matches, too. */
  const isShownAsAsked = (id: string, filter: Query.FilterInput): boolean => {
    const first = firstAction(id)
    const actor = first?.actor ?? null
    return (
      seesContext(id) ||
      ((filter.actor === undefined ||
        (actor?.type === filter.actor.type && (filter.actor.id === undefined || actor.id === filter.actor.id))) &&
        (filter.unattributed !== true || actor === null) &&
        (filter.requestId === undefined || filter.requestId === first?.requestId) &&
        filter.source === undefined)
    )
  }

  const isSeen = (id: string): boolean =>
    visibleChanges.some(({ transactionId }) => transactionId === id) || actionsOf(id).length > 0

  return {
    isSeen,
    /** What a transaction shows: the first visible action, and its own context only if one of its changes is visible. */
    shown: (id: string): Shown => {
      const first = firstAction(id)
      const context = seesContext(id) ? transactionOf(id) : first
      return {
        id,
        action: first?.id ?? null,
        actor: context?.actor?.id ?? null,
        correlationId: context?.correlationId ?? null,
        requestId: context?.requestId ?? null,
        source: seesContext(id) ? (transactionOf(id)?.source ?? null) : null,
        dbUser: seesContext(id) ? (transactionOf(id)?.dbUser ?? "app") : null
      }
    },
    timeline: (filter: Query.FilterInput): ReadonlyArray<Told> =>
      ordered([...matching(filter)].sort(filter.key === undefined ? byTransaction : byTime).map(toldOf), filter),
    /** Visible transactions that match the filter. If the filter is about changes, a visible change must match it. */
    transactions: (filter: Query.FilterInput): ReadonlyArray<string> => {
      const { changedField, contains, key, op, schema, table } = filter
      const ofChanges = [changedField, contains, key, op, schema, table].some((one) => one !== undefined)
      const changes = new Set(matching(filter).map(({ transactionId }) => transactionId))
      const ids = transactions
        .filter(
          ({ id, occurredAt }) =>
            changes.has(id) ||
            (!ofChanges &&
              actionsOf(id).length > 0 &&
              isAsked(id, filter) &&
              isShownAsAsked(id, filter) &&
              isIn(occurredAt, filter))
        )
        .map(({ id }) => id)
      return ordered(
        [...ids].sort((a, b) => Number(a) - Number(b)),
        filter
      )
    },
    actions: (filter: Query.FilterInput): ReadonlyArray<string> =>
      visibleActions
        .filter(
          ({ correlationId, name, transactionId }) =>
            (filter.correlationId === undefined || correlationId === filter.correlationId) &&
            (filter.action === undefined || filter.action === name) &&
            (filter.transactionId === undefined || transactionId === filter.transactionId)
        )
        .map(({ id }) => id)
        .sort((a, b) => Number(a) - Number(b)),
    history: (table: string, key: string): ReadonlyArray<Told> =>
      visibleChanges
        .filter((one) => one.table === table && (one.key === key || (one.previousKey === key && isBeforeShown(one))))
        .sort(byTime)
        .map(toldOf),
    change: (id: string): Told | undefined => visibleChanges.filter((one) => one.id === id).map(toldOf)[0],
    feed: (): ReadonlyArray<Told> => [...visibleChanges].sort((a, b) => Number(a.id) - Number(b.id)).map(toldOf),
    /**
     * Whether an answer about a row may be given, must be, or must not: it is of one of the changes at the key, of which all or some or
     * none are visible on the side that the answer is about.
     */
    standing: (table: string, key: string, answer: Query.AsOf): "told" | "hidden" | "either" => {
      const own = simulation.changes.filter(
        (one) => one.table === table && (one.key === key || one.previousKey === key)
      )
      const sides = own.flatMap((one): ReadonlyArray<readonly [image: JsonObject | null, visible: boolean]> => [
        ...(one.key === key ? [[imageOf(one, "after"), isVisible(one, "after")] as const] : []),
        ...((one.previousKey ?? one.key) === key && one.op !== "insert" && one.op !== "baseline"
          ? [[imageOf(one, "before"), isVisible(one, "before")] as const]
          : [])
      ])
      const verdicts =
        answer._tag === "Present"
          ? sides
              .filter(([image]) => image !== null && canonical(image) === canonical(answer.row))
              .map(([, visible]) => visible)
          : answer._tag === "MovedTo"
            ? own
                .filter((one) => one.previousKey === key && one.key === answer.key)
                .map((one) => isVisible(one, "after") && isVisible(one, "before"))
            : answer._tag === "NotYetCreated"
              ? own.map((one) => isVisible(one, "after"))
              : own.filter(({ op }) => op === "delete" || op === "truncate").map((one) => isVisible(one, "after"))
      return verdicts.every((visible) => !visible)
        ? "hidden"
        : verdicts.every((visible) => visible) && answer._tag === "Present"
          ? "told"
          : "either"
    }
  }
}
