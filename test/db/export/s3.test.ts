import { S3Client } from "@aws-sdk/client-s3"
import { expect, layer as suite } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import { vi } from "vitest"
import * as ExportJobs from "../../../src/ExportJobs.js"
import * as ExportStore from "../../../src/ExportStore.js"
import * as S3 from "../../../src/s3.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { bytesOf } from "../../support/export.js"
import { at, reset, write } from "../../support/query.js"
import { credentials, nothing, server } from "../../support/s3.js"

const facts = { contentType: "text/csv", contentEncoding: undefined }

suite(TestDatabase.layer, { excludeTestServices: true, timeout: 300_000 })("a store on S3", (it) => {
  it.scoped("keeps the files of jobs, links to them, and removes them", () =>
    Effect.gen(function* () {
      const { clientOf } = yield* server
      yield* reset
      yield* write({
        transactions: [{ id: "1", occurredAt: at(1) }],
        changes: [{ id: "1", transactionId: "1", at: at(1), op: "insert", key: "1", after: { id: 1 } }]
      })
      const store = S3.layer({ client: clientOf(), bucket: "audit", prefix: "exports/" })
      yield* Effect.gen(function* () {
        const { id } = yield* ExportJobs.queue({ format: "csv" })
        expect(yield* ExportJobs.run()).toMatchObject({ completed: 1 })
        const job = yield* ExportJobs.get(id)
        const file = yield* Effect.flatMap(ExportJobs.download(id), ({ bytes }) => bytesOf(bytes))
        expect(createHash("sha256").update(file).digest("hex")).toBe(job.manifest?.sha256)
        const link = yield* ExportJobs.link(id, { expiresIn: "1 minute" })
        const answer = yield* Effect.promise(() => fetch(link))
        expect(answer.headers.get("content-disposition")).toBe(`attachment; filename="export-${id}.csv"`)
        expect(yield* Effect.promise(() => answer.text())).toBe(file.toString())
        expect(link).toMatch(/X-Amz-Expires=(59|60)&.*X-Amz-Signature=[0-9a-f]{64}/)
        yield* Effect.flatMap(ExportStore.ExportStore, (files) => files.remove(job.file ?? ""))
        const gone = yield* Effect.flip(Effect.flatMap(ExportJobs.download(id), ({ bytes }) => bytesOf(bytes)))
        expect(gone).toMatchObject({ reason: "Expired" })
      }).pipe(Effect.provide(Layer.provideMerge(ExportJobs.layer, store)))
    })
  )

  it("refuses an option that is not known", () => {
    const client = new S3Client({ region: "eu-central-1" })
    expect(() => S3.layer({ client, bucket: "audit", prefx: "exports/" } as never)).toThrow("prefx: is not known here")
  })

  it.scoped("takes a large file in parts, without holding it in memory", () =>
    Effect.gen(function* () {
      const { clientOf } = yield* server
      const store = S3.store({ client: clientOf(), bucket: "audit", partSize: 5 * 1024 * 1024 })
      const hash = createHash("sha256")
      const piece = Buffer.alloc(131_072, "0123456789")
      const count = 320
      let made = 0
      const bytes = Stream.repeatEffectOption(
        Effect.suspend(() => {
          if (made === count) {
            return Effect.fail(Option.none<never>())
          }
          made++
          hash.update(piece)
          return Effect.succeed<Uint8Array>(piece)
        })
      )
      yield* store.write("large.csv", bytes, facts)
      let read = 0
      const seen = createHash("sha256")
      yield* Stream.runForEach(store.read("large.csv"), (chunk) =>
        Effect.sync(() => {
          read += chunk.length
          seen.update(chunk)
        })
      )
      expect([read, seen.digest("hex")]).toEqual([count * piece.length, hash.digest("hex")])
    })
  )

  it.scoped("leaves nothing of a file whose bytes fail, and nothing if it is interrupted", () =>
    Effect.gen(function* () {
      const { clientOf } = yield* server
      const store = S3.store({ client: clientOf(), bucket: "audit" })
      const piece = Stream.make<[Uint8Array]>(Buffer.alloc(131_072))
      const failing = Stream.concat(
        Stream.forever(piece).pipe(Stream.take(100)),
        Stream.fail("the export failed" as const)
      )
      expect(yield* Effect.flip(store.write("a.csv", failing, facts))).toBe("the export failed")
      const begun = yield* Deferred.make<void>()
      const endless = Stream.concat(
        Stream.forever(piece).pipe(Stream.take(100)),
        Stream.execute(Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
      )
      const writing = yield* Effect.fork(store.write("a.csv", endless, facts))
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(writing)
      expect(yield* Effect.flip(bytesOf(store.read("a.csv")))).toMatchObject({ reason: "Expired" })
      yield* store.remove("a.csv")
    })
  )

  it.scoped("that refuses or is away is one typed error", () =>
    Effect.gen(function* () {
      const { clientOf } = yield* server
      const bytes = Stream.make<[Uint8Array]>(Buffer.from("x"))
      const missing = S3.store({ client: clientOf(), bucket: "nosuch" })
      const away = S3.store({
        client: new S3Client({
          region: "us-east-1",
          endpoint: "http://127.0.0.1:1",
          maxAttempts: 1,
          credentials: { accessKeyId: "a", secretAccessKey: "b" }
        }),
        bucket: "audit"
      })
      for (const store of [missing, away]) {
        expect(yield* Effect.flip(store.write("a.csv", bytes, facts))).toMatchObject({ reason: "StoreFailed" })
      }
      expect(yield* Effect.flip(bytesOf(away.read("a.csv")))).toMatchObject({ reason: "StoreFailed" })
    })
  )

  it.scoped("is made of a configuration, with credentials of the environment", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* server
      yield* nothing
      const place = { bucket: "audit", prefix: "täglich/", endpoint, pathStyle: true }
      const refused = (options: ExportStore.BucketOptions) => Effect.flip(ExportStore.bucket(options))
      expect(yield* refused(place)).toMatchObject({
        reason: "StoreFailed",
        detail: "the region of the bucket is not known: give it, or set AWS_REGION"
      })
      const options = { ...place, region: "us-east-1" }
      expect(yield* refused(options)).toMatchObject({
        reason: "StoreFailed",
        detail: expect.stringContaining("there are no credentials for the bucket: set AWS_ACCESS_KEY_ID")
      })
      yield* credentials
      const store = yield* ExportStore.bucket(options)
      const bytes = Buffer.from("a,b\r\n")
      yield* store.write("1.csv", Stream.make(bytes), facts)
      expect(yield* bytesOf(store.read("1.csv"))).toEqual(bytes)
      const other = yield* ExportStore.bucket({ ...options, bucket: "nosuch" })
      expect(yield* Effect.flip(other.write("1.csv", Stream.make(bytes), facts))).toMatchObject({
        reason: "StoreFailed",
        detail: "the store could not take the file (NoSuchBucket)"
      })
      for (const [wrong, field] of [
        [{ ...options, bucket: "Audit" }, "bucket"],
        [{ ...options, prefix: "/exports" }, "prefix"],
        [{ ...options, endpoint: "http://key:secret@localhost" }, "endpoint"],
        [{ ...options, endpoint: "ftp://localhost" }, "endpoint"],
        [{ ...options, accessKeyId: "x" } as ExportStore.BucketOptions, "accessKeyId"]
      ] as const) {
        expect(yield* refused(wrong)).toMatchObject({ _tag: "threadline/InvalidRequest", field })
      }
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.doUnmock("@aws-sdk/lib-storage")))
      // Next.js bundles an empty module.
      for (const module of [() => Promise.reject(new Error("Cannot find package")), () => ({})]) {
        vi.doMock("@aws-sdk/lib-storage", module)
        const missing = yield* refused(options)
        expect(missing).toMatchObject({ _tag: "ExportError", reason: "NotInstalled" })
        expect(missing.message).toContain("npm install @aws-sdk/client-s3 @aws-sdk/lib-storage")
      }
    })
  )
})
