import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Json from "../../src/Json.js"
import type * as Page from "../../src/Page.js"
import * as Query from "../../src/Query.js"
import * as SavedViews from "../../src/SavedViews.js"
import { NotFound } from "../../src/ThreadlineError.js"
import { columnsOf, unordered } from "../columns.js"
import { when } from "../describe.js"
import { Refused, UsageError } from "../exit.js"
import { changeFilterOf, changeFilters, identifiedActorOf } from "../filter.js"
import { choice, common, flag, value } from "../options.js"
import { answerExact, visible } from "../output.js"
import { argument, leaf } from "../parser/declare.js"
import { asking, listed, paging, pagingOf } from "../reading.js"
import { layout } from "../table.js"
import { inTransactions } from "./listings.js"

const services = Layer.merge(SavedViews.layer, Query.layer)

const names = { name: "NAME" }

const nameArgument = argument("NAME", "Name of the view.")

const owner = value("owner", "TYPE:ID", "Whose view it is, such as user:42; needed if several have one of that name.")

const ownerText = ({ id, type }: SavedViews.Owner): string => `${type}:${id}`

/** An anonymous owner is refused by the service. */
const ownerOf = (text: Option.Option<string>) => identifiedActorOf("--owner", text)

const windowText = ({ filter, since }: SavedViews.SavedView): string =>
  [...(since === null ? [] : [`last ${since}`]), ...(filter === "" ? [] : [filter])].join(", ") || "every change"

const table = (views: ReadonlyArray<SavedViews.SavedView>, width: number): string =>
  layout(
    [{ header: "view" }, { header: "owner" }, { header: "filter" }, { header: "saved (UTC)", rigid: true }],
    views.map((view) => [view.name, ownerText(view.owner), windowText(view), when(view.updatedAt)]),
    width
  )

/** The view of a name: of the owner given, else of the only one who has it. */
const foundView = Effect.fnUntraced(function* (name: string, whose: SavedViews.OwnerInput | undefined) {
  if (whose !== undefined) {
    return yield* SavedViews.get(whose, name)
  }
  const [view, other] = (yield* SavedViews.list({ name, limit: 2 })).items
  if (view === undefined) {
    return yield* new NotFound({ subject: "view", id: name })
  }
  return other === undefined
    ? view
    : yield* new Refused({ message: `several have a view ${name}: --owner says whose is meant` })
})

export const list = leaf(
  "views list",
  {
    ...common,
    owner: value("owner", "TYPE:ID", "Only views of this one, such as user:42."),
    limit: paging.limit,
    cursor: paging.cursor
  },
  (options) =>
    Effect.gen(function* () {
      const { cursor, limit } = yield* pagingOf({ ...options, order: Option.none() })
      const whose = yield* ownerOf(options.owner)
      const page = yield* asking(options, services, SavedViews.list({ owner: whose, limit, cursor }))
      yield* answerExact(
        options,
        () => Json.stringify(page),
        (width) => listed(page, "No view is saved.", () => [table(page.items, width)])
      )
    })
)

export const run = leaf(
  "views run",
  {
    ...common,
    name: nameArgument,
    owner,
    ...paging,
    order: choice("order", ["newest", "oldest"], "Which come first; default: as the view says.")
  },
  (options) =>
    Effect.gen(function* () {
      const pages = yield* pagingOf(options)
      const whose = yield* ownerOf(options.owner)
      const { columns, page } = yield* asking(
        options,
        services,
        Effect.gen(function* () {
          const page: Page.Page<Query.Change> = yield* SavedViews.run(yield* foundView(options.name, whose), pages)
          return { page, columns: options.json ? unordered : yield* columnsOf(page.items) }
        }),
        names
      )
      yield* answerExact(
        options,
        () => Json.stringify(page),
        (width) => listed(page, "No change matches.", () => [inTransactions(page.items, width, columns)])
      )
    })
)

export const save = leaf(
  "views save",
  {
    ...common,
    name: nameArgument,
    owner: value("owner", "TYPE:ID", "Whose view it is, such as user:42."),
    ...changeFilters,
    since: value("since", "TIME", "Only this far back from when the view is run: 90s, 30m, 12h, 7d or 2w."),
    order: choice("order", ["newest", "oldest"], "Which come first; default: the newest."),
    replace: flag("replace", "Replace the view of that name.")
  },
  (options) =>
    Effect.gen(function* () {
      const whose = yield* ownerOf(options.owner)
      if (whose === undefined) {
        return yield* new UsageError({ message: "--owner says whose view it is, such as user:42" })
      }
      // The window is saved as it was given, because it moves with time.
      const filter = yield* changeFilterOf({ ...options, since: Option.none() })
      if (Option.isSome(options.since) && (filter.from !== undefined || filter.to !== undefined)) {
        return yield* new UsageError({
          message: "--since is a window that ends now: give it without --from, --to and --on"
        })
      }
      const view = yield* asking(
        options,
        services,
        SavedViews.save({
          owner: whose,
          name: options.name,
          filter: { ...filter, order: Option.getOrUndefined(options.order) },
          since: Option.getOrUndefined(options.since),
          replace: options.replace
        }).pipe(
          Effect.mapError((error) =>
            error._tag === "SavedViewError" && error.reason === "NameTaken"
              ? new Refused({ message: `${error.message} (--replace replaces it)` })
              : error
          )
        ),
        names
      )
      yield* answerExact(
        options,
        () => Json.stringify(view),
        () => visible(`The view ${view.name} of ${ownerText(view.owner)} is saved: ${windowText(view)}.`)
      )
    })
)

export const remove = leaf("views delete", { ...common, name: nameArgument, owner }, (options) =>
  Effect.gen(function* () {
    const whose = yield* ownerOf(options.owner)
    const view = yield* asking(
      options,
      services,
      Effect.tap(foundView(options.name, whose), (view) => SavedViews.remove(view.owner, view.name)),
      names
    )
    yield* answerExact(
      options,
      () => Json.stringify({ name: view.name, owner: view.owner, deleted: true }),
      () => visible(`The view ${view.name} of ${ownerText(view.owner)} is deleted.`)
    )
  })
)
