/**
 * The files of completed jobs: downloads, and links to them.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import * as AuditContext from "../../../AuditContext.js"
import { InvalidRequest } from "../../../ThreadlineError.js"
import { compressedEndings } from "../../core/fileEnding.js"
import type { Storage } from "../../record/storage.js"
import { ExportError } from "../exportError.js"
import { toFile } from "../file.js"
import type { Manifest } from "../manifest.js"
import { outerCompression } from "../request.js"
import { contentTypes, encodingOf } from "../service.js"
import type { Service as Store } from "../store/store.js"
import { jobOfToken, tokenOf } from "./link.js"
import type { Job } from "./model.js"
import type { Decided } from "./options.js"
import { type Failure, jobAction } from "./outcome.js"
import type { ScopeOption } from "./queue.js"
import * as table from "./table.js"

export interface Download {
  readonly job: Job
  /** A name to save the file as, such as `export-42.csv.gz`. */
  readonly fileName: string
  /** Such as `text/csv; charset=utf-8`. */
  readonly contentType: string
  /** The name that HTTP has for the compression. Undefined if the file is not compressed. */
  readonly contentEncoding: string | undefined
  readonly bytes: Stream.Stream<Uint8Array, ExportError>
}

export interface DownloadToOptions extends ScopeOption {
  /** Replaces a file of that name, and its manifest. */
  readonly force?: boolean | undefined
}

export interface LinkOptions extends ScopeOption {
  /** How long the link works, at most seven days and not longer than the file is kept. The default is an hour. */
  readonly expiresIn?: Duration.DurationInput | undefined
}

const endingOf = (request: Job["request"]): string => {
  const compression = outerCompression(request)
  return `${request.format}${compression === undefined ? "" : compressedEndings[compression]}`
}

export const wrongState = (job: Job, rule: string) =>
  new ExportError({ reason: "WrongState", detail: `the export ${job.id} is ${job.state}: ${rule}` })

const longestLink = Duration.days(7)

const linkLife = (given: Duration.DurationInput): Effect.Effect<Duration.Duration, InvalidRequest> =>
  Option.match(
    Option.filter(Duration.decodeUnknown(given), (life) =>
      Duration.between(life, { minimum: Duration.seconds(1), maximum: longestLink })
    ),
    {
      onNone: () => new InvalidRequest({ field: "expiresIn", rule: "must be a duration from 1 second to 7 days" }),
      onSome: Effect.succeed
    }
  )

const linkRefused = () =>
  Effect.fail(new ExportError({ reason: "LinkRefused", detail: "no links are configured for the files of exports" }))

const withToken = (address: string, token: string): string => {
  const url = new URL(address)
  url.searchParams.set("token", token)
  return url.href
}

const fileNameOf = ({ id, request }: Job): string => `export-${id}.${endingOf(request)}`

/** The bytes. The stream fails at its end if their hash is not that of the manifest. */
const compared = (
  bytes: Stream.Stream<Uint8Array, ExportError>,
  manifest: Manifest,
  onManifest: (manifest: Manifest) => Effect.Effect<void>
): Stream.Stream<Uint8Array, ExportError> =>
  Stream.suspend(() => {
    const hash = createHash("sha256")
    return Stream.concat(
      Stream.map(bytes, (piece) => {
        hash.update(piece)
        return piece
      }),
      Stream.execute(
        Effect.suspend(() =>
          hash.digest("hex") === manifest.sha256
            ? onManifest(manifest)
            : new ExportError({
                reason: "StoreFailed",
                detail: "the store gave another file than the one that was written"
              })
        )
      )
    )
  })

/** Gives an effect the action to record, if exports are recorded. */
export const actingOn =
  (decided: Effect.Effect<Decided, InvalidRequest>) =>
  <A, E>(
    name: Parameters<typeof jobAction>[0],
    job: Job,
    use: (action: table.Action, context: AuditContext.Fields) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | InvalidRequest> =>
    Effect.gen(function* () {
      const { record } = yield* decided
      return yield* use(record ? jobAction(name, job) : null, yield* AuditContext.current)
    })

/** The job, if its file can be downloaded now. */
const available = (job: Job) =>
  Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const over = job.expiresAt !== null && Date.parse(job.expiresAt) <= now
    if (job.state === "expired" || (job.state === "completed" && (over || job.file === null))) {
      return yield* new ExportError({
        reason: "Expired",
        detail: `the file of the export ${job.id} has expired; queue a new one`
      })
    }
    return job.state === "completed" && job.file !== null
      ? { job, file: job.file, now }
      : yield* wrongState(job, "it has no file")
  })

interface Making {
  readonly storage: Storage
  readonly decided: Effect.Effect<Decided, InvalidRequest>
  readonly storeOf: Effect.Effect<Store, ExportError>
  readonly acting: ReturnType<typeof actingOn>
  readonly find: (id: string, options: ScopeOption) => Effect.Effect<Job, Failure>
}

export const makeDownloads = ({ acting, decided, find, storage, storeOf }: Making) => {
  const of = (found: Job): Effect.Effect<Download, Failure> =>
    Effect.gen(function* () {
      const store = yield* storeOf
      const { file, job } = yield* available(found)
      yield* acting("downloaded", job, (action, context) => table.record(storage, action, context))
      return {
        job,
        fileName: fileNameOf(job),
        contentType: contentTypes[job.request.format],
        contentEncoding: encodingOf(job.request),
        bytes: store.read(file)
      } satisfies Download
    })

  const to = Effect.fnUntraced(function* (
    id: string,
    path: string,
    { force = false, ...which }: DownloadToOptions = {}
  ): Effect.fn.Return<Manifest, Failure> {
    const foundJob = yield* find(id, which)
    return yield* toFile(path, force ? "replace" : "keep", (onManifest) =>
      Stream.unwrap(
        Effect.map(of(foundJob), ({ bytes, job }) =>
          job.manifest === null ? bytes : compared(bytes, job.manifest, onManifest)
        )
      )
    )
  })

  const link = Effect.fnUntraced(function* (
    id: string,
    { expiresIn = "1 hour", ...which }: LinkOptions = {}
  ): Effect.fn.Return<string, Failure> {
    const life = yield* linkLife(expiresIn)
    const { links } = yield* decided
    const store = yield* storeOf
    const { file, job, now } = yield* available(yield* find(id, which))
    const end = job.expiresAt === null ? Infinity : Date.parse(job.expiresAt)
    const until = Math.min(now + Duration.toMillis(life), end)
    if (store.link === undefined && links === undefined) {
      return yield* new ExportError({
        reason: "Unsupported",
        detail: "this store makes no links: give the jobs `links`, with a URL that you serve and a key"
      })
    }
    yield* acting("downloaded", job, (action, context) => table.record(storage, action, context))
    return store.link === undefined
      ? withToken(links?.url ?? "", tokenOf(links?.key ?? "", job.id, until))
      : yield* store.link(file, {
          expiresIn: Duration.millis(Math.max(1000, until - now)),
          fileName: fileNameOf(job)
        })
  })

  const open = Effect.fnUntraced(function* (token: string): Effect.fn.Return<Download, Failure> {
    const { links } = yield* decided
    const now = yield* Clock.currentTimeMillis
    const id = yield* links === undefined ? linkRefused() : jobOfToken(links.key, token, now)
    return yield* of(yield* table.find(storage, id))
  })

  return { of, to, link, open }
}
