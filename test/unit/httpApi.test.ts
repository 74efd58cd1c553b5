import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpClient from "@effect/platform/HttpClient"
import * as OpenApi from "@effect/platform/OpenApi"
import { NodeHttpServer } from "@effect/platform-node"
import { expect, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Feed from "../../src/Feed.js"
import * as Json from "../../src/Json.js"
import * as Migrations from "../../src/Migrations.js"
import * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import { InvalidRequest, NotFound, ThreadlineError } from "../../src/ThreadlineError.js"

const change: Query.Change = {
  id: "9007199254740993",
  transactionId: "7",
  capturedAt: "2026-11-22T10:00:00.123456Z",
  tableSchema: "public",
  tableName: "invoices",
  partitionName: null,
  op: "insert",
  rowPk: { id: "9007199254740993" },
  rowKey: "9007199254740993",
  previousRowKey: null,
  changedFields: null,
  changedFrom: null,
  dataAfter: { id: 9007199254740993n, total: BigDecimal.make(110n, 2), paid: true },
  details: null,
  transaction: {
    id: "7",
    occurredAt: "2026-11-22T10:00:00.000000Z",
    actor: null,
    correlationId: null,
    requestId: null,
    jobId: null,
    traceId: null,
    source: null,
    remoteIp: null,
    meta: {},
    contextError: null,
    dbUser: "app",
    applicationName: null,
    clientAddr: null
  },
  action: null
}

const page = Page.make([change], Option.some(Page.Cursor.make("next")))

const timeline = Page.schema(Query.Change)

const audit = HttpApiGroup.make("audit")
  .add(HttpApiEndpoint.get("plain", "/plain").addSuccess(timeline))
  .add(HttpApiEndpoint.get("exact", "/exact").addSuccess(Json.fromText(timeline)))
  .add(
    HttpApiEndpoint.get("missing", "/missing")
      .addSuccess(Query.AsOf)
      .addError(NotFound, { status: 404 })
      .addError(InvalidRequest, { status: 400 })
  )
  .add(HttpApiEndpoint.get("incident", "/incident").addSuccess(Query.Incident))

const api = HttpApi.make("host").add(audit)

const server = HttpApiBuilder.serve().pipe(
  Layer.provide(
    Layer.provide(
      HttpApiBuilder.api(api),
      HttpApiBuilder.group(api, "audit", (handlers) =>
        handlers
          .handle("plain", () => Effect.succeed(page))
          .handle("exact", () => Effect.succeed(page))
          .handle("missing", () => Effect.fail(new NotFound({ subject: "row", id: "1" })))
          .handle("incident", () => Effect.die("not asked for"))
      )
    )
  ),
  Layer.provideMerge(NodeHttpServer.layerTest)
)

const exact = Json.stringify(page)

it.effect("an endpoint of a page in JSON text answers every number exactly, whatever the platform", () =>
  Effect.gen(function* () {
    const response = yield* HttpClient.get("/exact")
    expect(response.headers["content-type"]).toMatch(/^application\/json/)
    expect(yield* response.text).toBe(exact)
    expect(exact).toContain('"dataAfter":{"id":9007199254740993,"total":1.10,"paid":true}')
  }).pipe(Effect.provide(server))
)

it.effect(
  "an endpoint of a page answers numbers exactly if the platform can write them, else their digits in strings",
  () =>
    Effect.gen(function* () {
      const answered = yield* Effect.flatMap(HttpClient.get("/plain"), (response) => response.text)
      expect(answered).toBe(
        "rawJSON" in JSON
          ? exact
          : exact.replace('"id":9007199254740993,"total":1.10', '"id":"9007199254740993","total":"1.10"')
      )
      expect(answered).toBe(JSON.stringify(page))
    }).pipe(Effect.provide(server))
)

it.effect("a typed client reads the page again, with its numbers", () =>
  Effect.gen(function* () {
    const client = yield* HttpApiClient.make(api)
    const read = yield* client.audit.exact()
    expect(read).toEqual(page)
    expect(Json.stringify(read)).toBe(exact)
  }).pipe(Effect.provide(server))
)

it.effect("errors of a read are errors of an endpoint", () =>
  Effect.gen(function* () {
    const client = yield* HttpApiClient.make(api)
    const failure = yield* Effect.flip(client.audit.missing())
    expect(failure).toBeInstanceOf(NotFound)
    expect((yield* HttpClient.get("/missing")).status).toBe(404)
  }).pipe(Effect.provide(server))
)

it("an OpenAPI document describes pages and models, in both forms alike", () => {
  const document = OpenApi.fromApi(api)
  const body = (path: string): unknown =>
    document.paths[path]?.get?.responses[200]?.content?.["application/json"]?.schema
  expect(body("/plain")).toMatchObject({
    type: "object",
    required: ["items", "nextCursor", "hasMore"],
    properties: { items: { type: "array", items: { $ref: "#/components/schemas/threadline.Change" } } }
  })
  expect(body("/exact")).toEqual(body("/plain"))
  expect(document.components.schemas["threadline.Change"]).toMatchObject({
    type: "object",
    properties: { id: { type: "string" }, capturedAt: { type: "string", format: "date-time" } }
  })
  // OpenAPI allows these characters in the name of a component.
  expect(Object.keys(document.components.schemas).filter((name) => !/^[\w.-]+$/.test(name))).toEqual([])
  expect(body("/missing")).toMatchObject({ $ref: "#/components/schemas/threadline.AsOf" })
  expect(Schema.is(timeline)(page)).toBe(true)
})

/** Every schema that the public modules export for a host's endpoints, with the name it has in an OpenAPI document. */
const models = {
  actor: Actor.Actor,
  tableConfig: Capture.TableConfig,
  policy: Capture.Policy,
  step: Capture.Step,
  finding: Capture.Finding,
  mend: Capture.Mend,
  refusal: Capture.Refusal,
  tableStatus: Capture.TableStatus,
  printedFile: Capture.PrintedFile,
  batch: Feed.Batch,
  consumer: Feed.Consumer,
  consumed: Feed.Consumed,
  jsonValue: Json.JsonValue,
  jsonObject: Json.JsonObject,
  concern: Migrations.Concern,
  migrationStatus: Migrations.Status,
  migrationRun: Migrations.RunResult,
  change: Query.Change,
  auditTransaction: Query.AuditTransaction,
  actionReference: Query.ActionReference,
  action: Query.Action,
  transactionSummary: Query.TransactionSummary,
  asOf: Query.AsOf,
  rowAsOf: Query.RowAsOf,
  keyAsOf: Query.KeyAsOf,
  relatedRows: Query.RelatedRows,
  asOfWith: Query.AsOfWith,
  fieldDiff: Query.FieldDiff,
  changeDiff: Query.ChangeDiff,
  rowDiff: Query.RowDiff,
  bundle: Query.Bundle,
  incident: Query.Incident,
  sibling: Query.Sibling,
  count: Query.Count,
  filterFromJson: Query.FilterFromJson,
  page: Page.schema(Query.Action)
} as const

const errors = [
  Audit.AuditError,
  Capture.CaptureError,
  Migrations.MigrationError,
  InvalidRequest,
  NotFound,
  ThreadlineError
] as const

const groupOfAll = Object.entries(models).reduce<
  HttpApiGroup.HttpApiGroup<"models", HttpApiEndpoint.HttpApiEndpoint.Any, never>
>(
  (group, [name, schema]) => {
    const model = Schema.asSchema<Schema.Schema<unknown, unknown>>(schema as never)
    return group.add(
      HttpApiEndpoint.post(name, `/${name}`)
        .setPayload(model)
        .addSuccess(Schema.Struct({ plain: model, exact: Json.fromText(model) }))
        .addSuccess(Json.fromText(model), { status: 202 })
        .addError(Schema.Union(...errors))
    )
  },
  HttpApiGroup.make("models").add(
    HttpApiEndpoint.get("timeline", "/timeline").setUrlParams(Query.FilterFromUrlParams).addSuccess(timeline)
  )
)

const everything = HttpApi.make("everything").add(groupOfAll)

const Reference = Schema.Struct({ $ref: Schema.String })

/** Every `$ref` of a document. */
const references = (value: unknown): ReadonlyArray<string> => [
  ...(Schema.is(Reference)(value) ? [value.$ref] : []),
  ...(typeof value === "object" && value !== null ? Object.values(value).flatMap(references) : [])
]

it("an HttpApi can declare every model and every error, and has a valid OpenAPI document", () => {
  const document = OpenApi.fromApi(everything)
  const components = Object.keys(document.components.schemas)
  // OpenAPI allows these characters in the name of a component.
  expect(components.filter((name) => !/^[\w.-]+$/.test(name))).toEqual([])
  for (const reference of new Set(references(document))) {
    expect(components).toContain(reference.replace("#/components/schemas/", ""))
  }
  expect(components).toEqual(
    expect.arrayContaining([
      "threadline.AuditError",
      "threadline.Capture.TableStatus",
      "threadline.CaptureError",
      "threadline.Change",
      "threadline.Feed.Consumer",
      "threadline.Filter",
      "threadline.InvalidRequest",
      "threadline.MigrationError",
      "threadline.NotFound",
      "threadline.ThreadlineError"
    ])
  )
  const parameters = document.paths["/timeline"]?.get?.parameters
  expect(parameters?.map(({ in: place, name }) => `${place} ${name}`)).toEqual(
    expect.arrayContaining(["query table", "query actor", "query from", "query cursor"])
  )
  // It is JSON, nothing of a program.
  expect(JSON.parse(JSON.stringify(document))).toEqual(document)
})

it("errors are thrown under the tags that they always had", () => {
  expect(errors.map((error) => error._tag)).toEqual([
    "AuditError",
    "CaptureError",
    "MigrationError",
    "threadline/InvalidRequest",
    "threadline/NotFound",
    "ThreadlineError"
  ])
})

it.effect("an endpoint takes a filter from the parameters of a URL, and refuses one that it does not know", () => {
  const filtered = HttpApi.make("filtered").add(
    HttpApiGroup.make("reads").add(
      HttpApiEndpoint.get("timeline", "/timeline")
        .setUrlParams(Query.FilterFromUrlParams)
        .addSuccess(Json.fromText(Query.FilterFromJson))
    )
  )
  const echo = HttpApiBuilder.serve().pipe(
    Layer.provide(
      Layer.provide(
        HttpApiBuilder.api(filtered),
        HttpApiBuilder.group(filtered, "reads", (handlers) =>
          handlers.handle("timeline", ({ urlParams }) => Effect.succeed(urlParams))
        )
      )
    ),
    Layer.provideMerge(NodeHttpServer.layerTest)
  )
  return Effect.gen(function* () {
    const response = yield* HttpClient.get("/timeline?table=posts&op=update&op=delete&actor=user:42")
    expect(yield* response.text).toBe(
      '{"table":["public.posts"],"op":["delete","update"],"actor":{"type":"user","id":"42"}}'
    )
    expect((yield* HttpClient.get("/timeline?tabel=posts")).status).toBe(400)
    expect((yield* HttpClient.get("/timeline?limit=ten")).status).toBe(400)
    const client = yield* HttpApiClient.make(filtered)
    const filter = Either.getOrThrow(Query.filterFromUrl("table=posts&table=notes&limit=7"))
    expect(yield* client.reads.timeline({ urlParams: filter })).toEqual(filter)
  }).pipe(Effect.provide(echo))
})
