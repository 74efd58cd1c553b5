/**
 * Audited transactions of clients that are not Effect: what they share, whatever the client.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import * as AuditContext from "../../AuditContext.js"
import { InvalidRequest } from "../../ThreadlineError.js"
import { notAnObject, unknownField } from "../core/request.js"
import { type SqlStatement, storageSchemaName } from "../sql/statement.js"
import { identifier } from "../sql/sqlText.js"
import { type Action, encodeActionSync, failedAction, type Words } from "./action.js"
import { askActor, currentContext, merge, withContext } from "./ambient.js"
import { fromDriver, isLost, outcomeUnknown, own } from "./driverError.js"
import { closed, isOutcomeUnknown, makeAuditError } from "./errors.js"
import { finishDocument, isContextKept, unopenedPart } from "./finish.js"
import { contextFields, contradiction } from "./resolve.js"

/**
 * Records further actions in a running audited transaction.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recorder {
  /** Records an action in the transaction; its id, in digits. */
  readonly record: (action: Action, words?: Words & { readonly status?: "ok" | "error" | undefined }) => Promise<string>
}

/**
 * How to audit a transaction. Every part of the context that is given here wins over the ambient one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A, Settings> extends AuditContext.Given {
  /** What is meant to happen, or a function that derives it from what the body returned. Kept even if no row changes. */
  readonly action?: Action | ((value: A) => Action) | undefined
  /** Why; part of the action. */
  readonly reason?: string | undefined
  /** Part of the action. */
  readonly comment?: string | undefined
  /** Lets a transaction run without an actor; what it changes is then unattributed. */
  readonly allowMissingActor?: boolean | undefined
  /** Fails with `NoChanges`, and rolls back, if no row was captured. */
  readonly requireChanges?: boolean | undefined
  /**
   * `record` keeps the action of a transaction that failed, with status `error`, in a transaction of its own. The caller always gets
   * the original failure. Of the outermost call only, and not for an action that is a function.
   */
  readonly onFailure?: "discard" | "record" | undefined
  /** What the client lets a transaction be set to, such as its isolation level. Of the outermost call only. */
  readonly transaction?: Settings | undefined
  /** Where Threadline is installed, `threadline` if not given. */
  readonly schema?: string | undefined
}

/**
 * Runs a body in a savepoint. If the body fails, its writes are undone, and this fails with the same error.
 *
 * @since 0.1.0
 * @category models
 */
export type Savepoint<Tx> = (body: (tx: Tx) => Promise<void>) => Promise<unknown>

/**
 * What a client must be able to do.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connection<Tx extends object> {
  /** If the caller gave a transaction that has begun: what tells it from others, and how to run a body in a savepoint of it. */
  readonly inside: { readonly transaction: object; readonly savepoint: Savepoint<Tx> } | undefined
  /**
   * Runs `first` at the start of a new transaction, then the body, then the statement that the body gives, and commits. If any of
   * them fails it rolls back and fails with that error, unchanged.
   */
  readonly begin: (first: SqlStatement, body: (tx: Tx) => Promise<SqlStatement>) => Promise<unknown>
  /** What tells the transaction from others, if it is not the object itself. It may be used again after the end. */
  readonly identify?: ((tx: Tx) => object) | undefined
  /** Whether `begin` gives the caller's own client, which may be used again after the end. */
  readonly isCallers?: boolean | undefined
  /** Runs a statement in a transaction that `begin` or `savepoint` gave, else with what the caller gave; its rows. */
  readonly query: (tx: Tx | undefined, statement: SqlStatement) => Promise<unknown>
}

/** One transaction of a client, whatever objects the client shows it as. */
class Transaction {
  /** The level of what opened it. */
  base: Level | undefined
}

/** One nesting level of audited calls in a transaction: calls directly inside it take turns, and inherit from it. */
class Level {
  private last: Promise<unknown> = Promise.resolve()
  private open = true
  constructor(
    readonly transaction: Transaction,
    /** The document of an audited call; undefined in a transaction that the host opened itself. */
    readonly context: string | undefined,
    readonly allowMissingActor: boolean,
    readonly enclosing: Level | undefined,
    /** What an audited call gave its body; undefined if that may be used again after the end. */
    readonly lent: object | undefined
  ) {}
  get isOpen(): boolean {
    return this.open
  }
  takeTurn<A>(task: () => Promise<A>): Promise<A> {
    const turn = this.last.then(() => {
      if (!this.open) {
        throw closed()
      }
      return task()
    })
    this.last = turn.catch(() => undefined)
    return turn
  }
  /**
   * Waits for the calls inside, also those that the body did not await. Otherwise what ends the level would run in the part of one
   * of them, as its actor.
   */
  async settle(): Promise<void> {
    let seen: unknown
    while (seen !== this.last) {
      seen = this.last
      await seen
    }
    this.open = false
  }
  /** Refuses the calls inside that have not begun, and waits for the one that has: its client goes to others after that. */
  async abandon(): Promise<void> {
    this.open = false
    await this.last
  }
}

/** The level of the code that runs, the innermost first. */
const levels = new AsyncLocalStorage<Level>()

const transactions = new WeakMap<object, Transaction>()

const find = (matches: (level: Level) => boolean): Level | undefined => {
  let level = levels.getStore()
  while (level !== undefined && !matches(level)) {
    level = level.enclosing
  }
  return level
}

const enclosingOf = (transaction: Transaction): Level | undefined =>
  find((level) => level.isOpen && level.transaction === transaction)

/**
 * Throws `Closed` if the code that runs was started by an audited call that has ended, and uses what that call gave it. By now
 * this may be in a transaction of someone else's.
 */
export const mustBeOpen = (shown: object): void => {
  const giver = find(({ lent }) => lent === shown)
  if (giver !== undefined && !giver.isOpen && giver.transaction !== transactions.get(shown)) {
    throw closed()
  }
}

/** The innermost open level of a transaction, as the code that runs sees it. */
const levelOf = (shown: object): Level => {
  mustBeOpen(shown)
  const transaction = transactions.get(shown) ?? new Transaction()
  transactions.set(shown, transaction)
  return (
    enclosingOf(transaction) ?? (transaction.base ??= new Level(transaction, undefined, false, undefined, undefined))
  )
}

/** Whether the code that runs is inside an audited call of this transaction. */
export const isInside = (shown: object): boolean => {
  const transaction = transactions.get(shown)
  return transaction !== undefined && enclosingOf(transaction) !== undefined
}

const optionNames = {
  ...contextFields,
  action: true,
  reason: true,
  comment: true,
  allowMissingActor: true,
  requireChanges: true,
  onFailure: true,
  transaction: true,
  schema: true
} as const satisfies Record<keyof Options<never, never>, true>

/** An audited call, with everything checked. */
interface Request {
  readonly schema: string
  readonly fields: AuditContext.Given
  readonly document: string
}

const prepare = async <A, Settings>(given: Options<A, Settings>, parent: Level | undefined): Promise<Request> => {
  const optionsRefusal = notAnObject(given) ?? unknownField(given, optionNames)
  if (optionsRefusal !== undefined) {
    throw optionsRefusal
  }
  const { action, allowMissingActor, comment, onFailure, reason, requireChanges, schema, transaction, ...explicit } =
    given
  const refusal = contradiction({ action, allowMissingActor, comment, onFailure, reason, requireChanges })
  if (refusal !== undefined) {
    throw refusal
  }
  const storageSchema = storageSchemaName(schema)
  if (parent !== undefined && (transaction !== undefined || onFailure === "record")) {
    const option = transaction === undefined ? "onFailure" : "transaction"
    throw makeAuditError("NotOutermost", `${option} belongs to the outermost transaction, and this call is inside one`)
  }
  const { actor, ...ambient } = currentContext()
  const fields = merge(
    explicit.actor !== undefined || explicit.actorError !== undefined
      ? ambient
      : { ...ambient, ...(typeof actor === "function" ? await askActor(actor) : { actor }) },
    explicit
  )
  const contextRefusal = AuditContext.invalid(fields)
  if (contextRefusal !== undefined) {
    throw contextRefusal
  }
  if (
    fields.actor === undefined &&
    fields.actorError === undefined &&
    !(allowMissingActor ?? parent?.allowMissingActor ?? false)
  ) {
    throw makeAuditError("MissingActor", "no actor is set: use withContext, the option actor, or allowMissingActor")
  }
  return { schema: storageSchema, fields, document: AuditContext.encode(fields) }
}

const call = (schema: string, name: string, document: string, as: string = ""): SqlStatement => ({
  text: `select ${identifier(schema)}.${name}($1::text::jsonb)${as}`,
  values: [document]
})

/**
 * Ends the outermost call. If the body ended its transaction or its context, the action would be recorded without an actor, perhaps in
 * another transaction: that is refused.
 */
const finishOwn = (schema: string, document: string): SqlStatement => ({
  text:
    `select ${identifier(schema)}.finish((case when ${isContextKept} then $1::text else '${unopenedPart}' end)::jsonb)` +
    "::text as outcome",
  values: [document]
})

/** The first value of the first row, if it is text. */
const firstText = (rows: unknown): string | undefined => {
  const row: unknown = Array.isArray(rows) ? rows[0] : undefined
  const value: unknown = typeof row === "object" && row !== null ? Object.values(row)[0] : undefined
  return typeof value === "string" ? value : undefined
}

/** What the body of an audited call returned, and the document of its action, if it has one. */
interface Ran<A> {
  readonly value: A
  readonly action: string | undefined
}

/** Runs an audited transaction. */
export const audited = async <Tx extends object, A, Settings>(
  connection: Connection<Tx>,
  options: Options<A, Settings>,
  body: (tx: Tx, recorder: Recorder) => PromiseLike<A> | A
): Promise<A> => {
  const savepoint = connection.inside?.savepoint
  const parent = connection.inside === undefined ? undefined : levelOf(connection.inside.transaction)
  const request = await prepare(options, parent)
  const { action: given } = options
  const words = { reason: options.reason, comment: options.comment }
  // What is known of the action before must be right before anything runs.
  const encodedAction = given === undefined || typeof given === "function" ? undefined : encodeActionSync(given, words)

  /** Runs the body. */
  const run = async (tx: Tx): Promise<Ran<A>> => {
    const shown = connection.identify?.(tx) ?? tx
    const allowMissingActor = options.allowMissingActor ?? parent?.allowMissingActor ?? false
    const transaction = parent?.transaction ?? new Transaction()
    const lent = connection.identify === undefined && connection.isCallers !== true ? shown : undefined
    const level = new Level(transaction, request.document, allowMissingActor, levels.getStore(), lent)
    transaction.base ??= level
    const outer = transactions.get(shown)
    transactions.set(shown, transaction)
    let open = true
    const recorder: Recorder = {
      record: async (action, more = {}) => {
        if (!open) {
          throw closed()
        }
        const statement = call(
          request.schema,
          "record_action",
          encodeActionSync(action, more, more.status),
          "::text as id"
        )
        const id = firstText(await own(connection.query(tx, statement)))
        if (id === undefined) {
          throw makeAuditError("Failed", "the database returned no id for the recorded action")
        }
        return id
      }
    }
    try {
      const value = await levels.run(level, () => withContext(request.fields, () => body(tx, recorder)))
      await level.settle()
      return { value, action: typeof given === "function" ? encodeActionSync(given(value), words) : encodedAction }
    } finally {
      open = false
      await level.abandon()
      if (outer === undefined) {
        transactions.delete(shown)
      }
    }
  }

  if (parent === undefined || savepoint === undefined) {
    let ran: Ran<A> | undefined
    let last: SqlStatement | undefined
    try {
      await connection.begin(call(request.schema, "set_context", request.document), async (tx) => {
        ran = await run(tx)
        const { action } = ran
        last = finishOwn(request.schema, finishDocument({ action, requireChanges: options.requireChanges }))
        return last
      })
    } catch (error) {
      const failure = last !== undefined && isLost(error) ? (endFailures.get(last) ?? outcomeUnknown(error)) : error
      if (options.onFailure === "record" && encodedAction !== undefined && !isOutcomeUnknown(failure)) {
        await recordFailure(connection, request, encodedAction)
      }
      throw failure
    }
    return valueOf(ran)
  }
  return parent.takeTurn(() => inSavepoint(connection, savepoint, parent, request, options, run))
}

/** A part of a transaction with a context or an action of its own; or only a savepoint, if it has neither. */
const inSavepoint = async <Tx extends object, A, Settings>(
  connection: Connection<Tx>,
  savepoint: Savepoint<Tx>,
  parent: Level,
  request: Request,
  options: Options<A, Settings>,
  run: (tx: Tx) => Promise<Ran<A>>
): Promise<A> => {
  const { requireChanges } = options
  const isPart = options.action !== undefined || requireChanges === true || request.document !== parent.context
  let ran: Ran<A> | undefined
  await savepoint(async (tx) => {
    if (isPart) {
      await own(connection.query(tx, call(request.schema, "begin_part", request.document)))
    }
    const result = await run(tx)
    const document = finishDocument({ action: result.action, requireChanges, part: isPart })
    await own(connection.query(tx, call(request.schema, "finish", document, "::text as outcome")))
    ran = result
  })
  return valueOf(ran)
}

const valueOf = <A>(ran: Ran<A> | undefined): A => {
  if (ran === undefined) {
    throw makeAuditError("Failed", "the client did not run the transaction that it was given")
  }
  return ran.value
}

/** Why the last statement before COMMIT failed, if it did. */
const endFailures = new WeakMap<SqlStatement, unknown>()

/** The steps of a transaction that the client begins and commits itself: what `begin` runs in it. */
export const steps =
  <Tx extends object>(
    query: (tx: Tx, statement: SqlStatement) => Promise<unknown>,
    first: SqlStatement,
    body: (tx: Tx) => Promise<SqlStatement>
  ) =>
  async (tx: Tx): Promise<void> => {
    await own(query(tx, first))
    const last = await body(tx)
    try {
      await own(query(tx, last))
    } catch (error) {
      // If the connection is lost, some clients throw the error of their ROLLBACK instead.
      endFailures.set(last, error)
      throw error
    }
  }

/** Savepoints by statements, for clients that have none of their own. A name may repeat: the innermost is meant. */
export const savepointOf =
  <Tx extends object>(tx: Tx, query: (statement: SqlStatement) => Promise<unknown>): Savepoint<Tx> =>
  async (body) => {
    const run = (text: string) => query({ text, values: [] })
    await own(run("savepoint threadline"))
    try {
      await body(tx)
      await own(run("release savepoint threadline"))
    } catch (error) {
      // If this fails, the transaction stays aborted, and its owner notices. The first failure is the one to report.
      await run("rollback to savepoint threadline").then(
        () => run("release savepoint threadline"),
        () => undefined
      )
      throw error
    }
  }

/** Keeps a failed action. The caller does not wait for it. */
const recordFailure = async <Tx extends object>(
  connection: Connection<Tx>,
  { document, schema }: Request,
  action: string
): Promise<void> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 5_000)
  })
  const recorded = connection
    .query(undefined, recordStatement(schema, failedAction(action), document))
    .then(undefined, (error: unknown) => {
      process.emitWarning(`threadline: the failed action could not be recorded: ${fromDriver(error).message}`)
    })
  await Promise.race([late, recorded])
  clearTimeout(timer)
}

const recordStatement = (schema: string, action: string, context: string): SqlStatement => ({
  text: `select ${identifier(schema)}.record_action($1::text::jsonb, $2::text::jsonb)::text as id`,
  values: [action, context]
})

/**
 * How to record an action without row changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordOptions extends AuditContext.Given, Words {
  /** `ok` if not given. */
  readonly status?: "ok" | "error" | undefined
  /** Lets an action without an actor be recorded. */
  readonly allowMissingActor?: boolean | undefined
  /** Where Threadline is installed, `threadline` if not given. */
  readonly schema?: string | undefined
}

/** Records an action without row changes: in the transaction that is given, else in one of its own; its id. */
export const record = async (
  connection: {
    readonly transaction: object | undefined
    readonly query: (statement: SqlStatement) => Promise<unknown>
  },
  action: Action,
  options: RecordOptions = {}
): Promise<string> => {
  const refusal = notAnObject(options)
  if (refusal !== undefined) {
    throw refusal
  }
  const { comment, reason, status, ...rest } = options
  const parent = connection.transaction === undefined ? undefined : levelOf(connection.transaction)
  const request = await prepare(rest, parent)
  const document = encodeActionSync(action, { comment, reason }, status)
  const id = firstText(await own(connection.query(recordStatement(request.schema, document, request.document))))
  if (id === undefined) {
    throw makeAuditError("Failed", "the database returned no id for the recorded action")
  }
  return id
}

/** Refuses what is not a client of this entry point, before any of its methods is called. */
export const mustHave = (db: unknown, methods: ReadonlyArray<string>, what: string): void => {
  const isObject = (typeof db === "object" && db !== null) || typeof db === "function"
  if (!isObject || methods.some((method) => typeof Reflect.get(db, method) !== "function")) {
    throw new InvalidRequest({ field: "db", rule: `must be ${what}` })
  }
}
