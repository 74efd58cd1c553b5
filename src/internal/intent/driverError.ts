/**
 * Understands the errors of clients that are not Effect. Each wraps the server's error in its own way.
 */
import { SqlError } from "@effect/sql/SqlError"
import {
  AuditError,
  commitUnknown,
  connectionLost,
  fromStatement,
  makeAuditError,
  noChanges,
  recordedOrNot,
  serializationStates,
  unreachable,
  wentOn
} from "./errors.js"
import { isConnectionLost, isUnreachable, wasNeverSent } from "../sql/sqlState.js"
import { endedByBody } from "./finish.js"

/**
 * Runs a statement of Threadline's own. An error of the client becomes an `AuditError`, except a serialization failure or a
 * deadlock: hosts recognize these by the client's own error, and try again.
 */
export const own = async <A>(answer: PromiseLike<A>): Promise<A> => {
  try {
    return await answer
  } catch (error) {
    throw ownFailure(error, fromDriver)
  }
}

/** As `own`, for a statement that is a transaction by itself. */
export const ownAlone = async <A>(answer: PromiseLike<A>): Promise<A> => {
  try {
    return await answer
  } catch (error) {
    throw ownFailure(error, fromDriverAlone)
  }
}

/**
 * Whether a COMMIT failed because the connection was lost: a refused one has a SQLSTATE. Prisma's own errors of transactions
 * (`P2034`) have none, and say more.
 */
export const isCommitLost = (error: unknown): boolean => {
  const code = property(error, "code")
  return (
    !AuditError.is(error) &&
    /^(?:08|57P)/.test(stateOf(error)?.code ?? "08") &&
    !(typeof code === "string" && code.startsWith("P2"))
  )
}

export const outcomeUnknown = (error: unknown): AuditError =>
  new AuditError({ reason: "OutcomeUnknown", detail: commitUnknown, cause: error })

/** The error to throw for a failed statement of Threadline's own. */
const ownFailure = (error: unknown, toAuditError: (error: unknown) => AuditError): unknown =>
  serializationStates.has(stateOf(error)?.code) ? error : toAuditError(error)

/** The `AuditError` for a failed statement of Threadline's own. */
export const fromDriver = (error: unknown): AuditError => {
  if (AuditError.is(error)) {
    return error
  }
  const state = stateOf(error)
  const message = error instanceof Error ? error.message : String(error)
  const sqlError = new SqlError({
    cause: state === undefined ? error : { code: state.code, message: state.message ?? message, cause: error },
    message
  })
  switch (state?.code) {
    case "TL001":
      return noChanges(sqlError)
    case "TL004":
    case "25P01":
      return makeAuditError("EndedByBody", endedByBody, sqlError)
    case "25P02":
      return makeAuditError("TransactionAborted", wentOn, sqlError)
    case undefined:
      return (
        connectionError(error) ??
        makeAuditError("Failed", `the client failed with a statement of Threadline: ${message}`, sqlError)
      )
    default:
      return isUnreachable(sqlError) ? unreachable(sqlError) : fromStatement(sqlError)
  }
}

/** As `fromDriver`, for a statement that is a transaction by itself. If its connection is lost, nobody knows whether it was committed. */
export const fromDriverAlone = (error: unknown): AuditError => {
  const failure = fromDriver(error)
  return failure.reason === "ConnectionLost" && findIn(error, wasNeverSent) === undefined
    ? recordedOrNot(new SqlError({ cause: error }))
    : failure
}

/** The errors inside a client's error, the outermost first. Clients wrap the driver's error, each in its own way. */
const layersOf = (error: unknown): ReadonlyArray<ReadonlyArray<unknown>> => {
  const layers: Array<ReadonlyArray<unknown>> = []
  let layer: ReadonlyArray<unknown> = [error]
  while (layers.length < 8 && layer.length > 0) {
    layers.push(layer)
    layer = layer.flatMap((one) =>
      ["cause", "driverError", "meta", "driverAdapterError", "parent", "nativeError"]
        .map((name) => property(one, name))
        .filter((inner) => typeof inner === "object" && inner !== null)
    )
  }
  return layers
}

/** How clients say that no connection could be had: postgres.js, the adapters of Prisma, Prisma. */
const unreachableWords: ReadonlySet<unknown> = new Set([
  "CONNECT_TIMEOUT",
  "CONNECTION_ENDED",
  "DatabaseNotReachable",
  "P1001"
])

/** How they say that the connection is gone. */
const lostWords: ReadonlySet<unknown> = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "ConnectionClosed",
  "P1017"
])

const saysOneOf = ({ cause }: SqlError, words: ReadonlySet<unknown>): boolean =>
  words.has(property(cause, "code")) || words.has(property(cause, "kind"))

/** The first error inside a client's error of which something is true. */
const findIn = (error: unknown, test: (inner: SqlError) => boolean): SqlError | undefined =>
  layersOf(error)
    .flat()
    .map((cause) => new SqlError({ cause }))
    .find(test)

/** The loss of the connection, if the driver or the client says inside an error that it is gone. */
export const lossIn = (error: unknown): AuditError | undefined => {
  const lost = findIn(error, (inner) => isConnectionLost(inner) || saysOneOf(inner, lostWords))
  return lost === undefined ? undefined : connectionLost(lost)
}

/** What a client says of a connection that could not be had, or that is gone. */
const connectionError = (error: unknown): AuditError | undefined => {
  const none = findIn(error, (inner) => isUnreachable(inner) || saysOneOf(inner, unreachableWords))
  return none === undefined ? lossIn(error) : unreachable(none)
}

/**
 * The SQLSTATE somewhere inside a client's error. Some clients have codes of their own that look like a SQLSTATE (`P2010` of
 * Prisma). The innermost one is the server's.
 */
const stateOf = (error: unknown): { readonly code: string; readonly message: string | undefined } | undefined => {
  let serverError: { readonly code: string; readonly message: string | undefined } | undefined
  for (const candidate of layersOf(error).flat()) {
    const code = property(candidate, "originalCode") ?? property(candidate, "code")
    if (typeof code === "string" && /^(?=.*[0-9])(?!P[1-9])[0-9A-Z]{5}$/.test(code)) {
      const message = property(candidate, "originalMessage") ?? property(candidate, "message")
      serverError = { code, message: typeof message === "string" ? message : undefined }
    }
  }
  return serverError
}

const property = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? (value as { readonly [name: string]: unknown })[name] : undefined
