/**
 * Audited transactions of clients that are not Effect: what they share, whatever the client.
 */
import { InvalidRequest } from "../../ThreadlineError.js"
import { notAnObject } from "../core/request.js"
import type { SqlStatement } from "../sql/statement.js"
import { identifier } from "../sql/sqlText.js"
import { type Action, encodeActionSync, failedAction, type Words } from "./action.js"
import { withContext } from "./ambient.js"
import { fromDriverAlone, isCommitLost, lossIn, outcomeUnknown, own, ownAlone } from "./driverError.js"
import { type AuditError, closed, isOutcomeUnknown, makeAuditError, noActionId } from "./errors.js"
import { finishDocument, isContextKept, unopenedPart } from "./finish.js"
import type { Lending } from "./lend.js"
import { Level, levelOf, levels, Transaction, transactions } from "./plainLevel.js"
import { type Options, prepare, type RecordOptions, type Request } from "./plainRequest.js"

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
  /**
   * Shows the body a transaction, and refuses its statements once `refusal` gives an error: the transaction has ended. Without it, code
   * that was not awaited could write into a transaction of someone else's, if the client gives the same connection to others.
   */
  readonly lend?: ((tx: Tx, lending: Lending) => Tx) | undefined
  /** Whether `begin` gives the caller's own client, which may be used again after the end. */
  readonly isCallers?: boolean | undefined
  /** Runs a statement in a transaction that `begin` or `savepoint` gave, else with what the caller gave; its rows. */
  readonly query: (tx: Tx | undefined, statement: SqlStatement) => Promise<unknown>
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

/** The id that `record_action` returned. */
const actionIdOf = (rows: unknown): string => {
  const id = firstText(rows)
  if (id === undefined) {
    throw noActionId()
  }
  return id
}

/** What the body of an audited call returned, and the document of its action, if it has one. */
interface Ran<A> {
  readonly value: A
  readonly action: string | undefined
}

const recorderOf = <Tx extends object>(
  connection: Connection<Tx>,
  schema: string,
  tx: Tx,
  isOpen: () => boolean
): Recorder => ({
  record: async (action, { status, ...words } = {}) => {
    if (!isOpen()) {
      throw closed()
    }
    const statement = call(schema, "record_action", encodeActionSync(action, words, status), "::text as id")
    return actionIdOf(await own(connection.query(tx, statement)))
  }
})

/** Runs an audited transaction. */
export const audited = async <Tx extends object, A, Settings>(
  connection: Connection<Tx>,
  options: Options<A, Settings>,
  body: (tx: Tx, recorder: Recorder) => PromiseLike<A> | A
): Promise<A> => {
  const { inside } = connection
  if (inside === undefined) {
    return runAudited(connection, options, body, undefined)
  }
  const parent = levelOf(inside.transaction)
  // At once: the body of the enclosing call may end in the same instant, without awaiting this call.
  return parent.takeTurn(() => runAudited(connection, options, body, { parent, savepoint: inside.savepoint }))
}

const runAudited = async <Tx extends object, A, Settings>(
  connection: Connection<Tx>,
  options: Options<A, Settings>,
  body: (tx: Tx, recorder: Recorder) => PromiseLike<A> | A,
  enclosing: { readonly parent: Level; readonly savepoint: Savepoint<Tx> } | undefined
): Promise<A> => {
  const parent = enclosing?.parent
  const request = await prepare(options, parent)
  if (typeof body !== "function") {
    throw new InvalidRequest({ field: "body", rule: "must be a function" })
  }
  const { action: given } = options
  const words = { reason: options.reason, comment: options.comment }
  // What is known of the action before must be right before anything runs.
  const encodedAction = given === undefined || typeof given === "function" ? undefined : encodeActionSync(given, words)

  const end = new End()

  /** Runs the body. */
  const run = async (begun: Tx): Promise<Ran<A>> => {
    const tx = connection.lend?.(begun, end) ?? begun
    const shown = connection.identify?.(tx) ?? tx
    const allowMissingActor = options.allowMissingActor ?? parent?.allowMissingActor ?? false
    const transaction = parent?.transaction ?? new Transaction()
    const lent = connection.identify === undefined && connection.isCallers !== true ? shown : undefined
    const level = new Level(transaction, {
      context: request.document,
      allowMissingActor,
      enclosing: levels.getStore(),
      lent
    })
    transaction.base ??= level
    const outer = transactions.get(shown)
    transactions.set(shown, transaction)
    let open = true
    const recorder = recorderOf(connection, request.schema, tx, () => open)
    try {
      const value = await levels.run(level, () => withContext(request.fields, () => body(tx, recorder)))
      await level.settle()
      return { value, action: typeof given === "function" ? encodeActionSync(given(value), words) : encodedAction }
    } finally {
      open = false
      await level.abandon()
      end.reason ??= closed()
      if (outer === undefined) {
        transactions.delete(shown)
      }
    }
  }

  return enclosing === undefined
    ? inTransaction(connection, request, options, encodedAction, run, end)
    : inSavepoint(connection, enclosing.savepoint, enclosing.parent, request, options, run)
}

/** Why nothing is sent in the transaction of a call any more. */
class End implements Lending {
  /** Undefined while the transaction is open. */
  reason: AuditError | undefined
  readonly refusal = (): AuditError | undefined => this.reason
  readonly failed = (error: unknown): void => {
    this.reason ??= lossIn(error)
  }
  get loss(): AuditError | undefined {
    return this.reason?.reason === "ConnectionLost" ? this.reason : undefined
  }
}

/** A transaction of the call's own. */
const inTransaction = async <Tx extends object, A, Settings>(
  connection: Connection<Tx>,
  request: Request,
  options: Options<A, Settings>,
  encodedAction: string | undefined,
  run: (tx: Tx) => Promise<Ran<A>>,
  end: End
): Promise<A> => {
  let ran: Ran<A> | undefined
  let last: SqlStatement | undefined
  let isOver = false
  /** Some clients give a transaction up as soon as its connection is lost, while the body still runs. They must not hear of its end. */
  const runToEnd = async (tx: Tx): Promise<Ran<A>> => {
    try {
      const result = await run(tx)
      if (end.loss !== undefined) {
        throw end.loss
      }
      return result
    } finally {
      if (end.loss !== undefined) {
        // The client gives it up in the turn of the event loop in which a statement fails.
        await new Promise((resolve) => setImmediate(resolve))
      }
      if (isOver) {
        // The client would send ROLLBACK. What postgres.js sends without a connection ends the process, or waits forever.
        await new Promise(() => undefined)
      }
    }
  }
  try {
    await connection.begin(call(request.schema, "set_context", request.document), async (tx) => {
      ran = await runToEnd(tx)
      last = finishOwn(request.schema, finishDocument({ action: ran.action, requireChanges: options.requireChanges }))
      return last
    })
  } catch (error) {
    isOver = true
    end.reason ??= lossIn(error) ?? closed()
    const failure = last !== undefined && isCommitLost(error) ? (endFailures.get(last) ?? outcomeUnknown(error)) : error
    if (options.onFailure === "record" && encodedAction !== undefined && !isOutcomeUnknown(failure)) {
      await recordFailure(connection, request, encodedAction)
    }
    throw failure
  }
  return valueOf(ran)
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
      process.emitWarning(`threadline: the failed action could not be recorded: ${fromDriverAlone(error).message}`)
    })
  await Promise.race([late, recorded])
  clearTimeout(timer)
}

const recordStatement = (schema: string, action: string, context: string): SqlStatement => ({
  text: `select ${identifier(schema)}.record_action($1::text::jsonb, $2::text::jsonb)::text as id`,
  values: [action, context]
})

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
  const answerOf = connection.transaction === undefined ? ownAlone : own
  return actionIdOf(await answerOf(connection.query(recordStatement(request.schema, document, request.document))))
}

/** Refuses what is not a client of this entry point, before any of its methods is called. */
export const mustHave = (db: unknown, methods: ReadonlyArray<string>, what: string): void => {
  const isObject = (typeof db === "object" && db !== null) || typeof db === "function"
  if (!isObject || methods.some((method) => typeof Reflect.get(db, method) !== "function")) {
    throw new InvalidRequest({ field: "db", rule: `must be ${what}` })
  }
}
