/**
 * Everything that health knows, from one snapshot: the findings of capture, the state of the record, and what could not be
 * looked at.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { ThreadlineError } from "../../ThreadlineError.js"
import { readStanding } from "../capture/catalog.js"
import type { Failure } from "../capture/failure.js"
import { commandMend, readerCommand } from "../capture/mend.js"
import { standingFindings } from "../capture/standingFindings.js"
import * as TableName from "../core/tableName.js"
import { transactionOrSavepoint } from "../sql/owned.js"
import { sqlState } from "../sql/sqlState.js"
import { type Readiness, readReadiness } from "./continuity.js"
import { readCovered } from "./covered.js"
import type { Part } from "./fact.js"
import { inOrder, ofCapture, ofFact } from "./finding.js"
import type { Finding, Report } from "./model.js"
import { type Options, readingWith, type Request } from "./options.js"
import * as record from "./record.js"
import {
  consumerFindings,
  defaultPartitionFindings,
  structureFindings,
  versionFindings,
  writerFindings
} from "./recordFindings.js"
import { tableFindings } from "./tableFindings.js"

export const readReport = (sql: SqlClient, storage: string, options: Options): Effect.Effect<Report, Failure> =>
  readingWith(sql, options, (request) => Effect.map(reportWithin(sql, storage, request), ({ report }) => report))

/** The report, and the readiness of its tables; null if the role may not read that. */
export const readReportAndReadiness = (
  sql: SqlClient,
  storage: string,
  options: Options
): Effect.Effect<{ readonly health: Report; readonly readiness: ReadonlyArray<Readiness> | null }, Failure> =>
  readingWith(
    sql,
    options,
    Effect.fnUntraced(function* (request: Request) {
      const { covered, report, rights } = yield* reportWithin(sql, storage, request)
      const readiness = covered === undefined || !rights.baselines ? null : yield* readReadiness(sql, storage, covered)
      return { health: report, readiness }
    })
  )

/** The role lacks a right. */
const isDenied = (error: unknown): boolean =>
  error instanceof SqlError
    ? sqlState(error) === "42501"
    : ThreadlineError.is(error) && error.reason === "InsufficientPrivilege"

/** The answer to a question, or the finding that the role may not ask it. */
type Answer<A> = Either.Either<A, Finding>

/** The findings of an answer, as `findings` judges it. */
const foundIn = <A>(answer: Answer<A>, findings: (value: A) => ReadonlyArray<Finding>): ReadonlyArray<Finding> =>
  Either.match(answer, { onLeft: (finding) => [finding], onRight: findings })

/** Asks what a role may be denied. */
const asking =
  (sql: SqlClient, storage: string, { role, usage }: record.Rights) =>
  <A, E>(part: Part, allowed: boolean, question: Effect.Effect<A, E>): Effect.Effect<Answer<A>, E | SqlError> => {
    const lacks = usage ? "the right to read it" : "usage of the schema"
    const mend = commandMend(readerCommand(role))
    const unknown = Either.left(
      ofFact("warning", TableName.quote(storage), { kind: "Unknown", part, role, lacks }, mend)
    )
    return allowed
      ? // It may need more than the rights that are known before. Its failure must not end the transaction of the others.
        transactionOrSavepoint(sql, "begin", question).pipe(
          Effect.map(Either.right),
          Effect.catchIf(isDenied, () => Effect.succeed(unknown))
        )
      : Effect.succeed(unknown)
  }

const reportWithin = Effect.fnUntraced(function* (sql: SqlClient, storage: string, request: Request) {
  const rights = yield* record.readRights(sql, storage)
  if (!rights.installed) {
    return yield* new ThreadlineError({
      reason: "NotMigrated",
      detail: `the Threadline schema ${storage} is not installed here; run "threadline migrate up"`
    })
  }
  const ask = asking(sql, storage, rights)
  const standing = yield* readStanding(sql, storage)
  const isHidden = standing.hidden.length > 0
  const capture = yield* ask(
    "capture",
    rights.policies,
    isHidden ? Effect.succeed(undefined) : readCovered(sql, storage, request, "known")
  )
  const covered = Either.getOrUndefined(capture)
  const structure = yield* record.readStructure(sql, storage)
  const version = yield* ask("version", rights.version, record.readVersion(sql, storage))
  const inDefault = yield* ask("default partition", rights.changes, record.readDefaultPartition(sql, storage))
  const consumers = yield* ask("consumers", rights.consumers, record.readConsumers(sql, storage))
  const writers = yield* ask("transactions", rights.transactions, record.readWriters(sql, storage))

  const schema = TableName.quote(storage)
  const watch = covered?.catalog.watch
  const report: Report = {
    at: rights.at,
    schema,
    watch: watch?.state ?? null,
    tables: covered?.coverage ?? [],
    findings: inOrder([
      ...foundIn(capture, (known) => (known === undefined ? [] : tableFindings(known, request))),
      ...standingFindings(schema, standing, watch ?? { state: "off", problems: [] }).map((finding) =>
        ofCapture(finding)
      ),
      ...structureFindings(storage, structure, covered),
      ...foundIn(version, (installed) => versionFindings(storage, installed)),
      ...foundIn(inDefault, (atLeast) => defaultPartitionFindings(storage, atLeast)),
      ...foundIn(consumers, consumerFindings),
      ...foundIn(writers, (known) => writerFindings(storage, standing.owner, known))
    ])
  }
  return { report, rights, covered }
})
