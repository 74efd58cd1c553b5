/** What tests in a browser share: the browser, a server of the pages, and the complaints of a page. */
import * as Effect from "effect/Effect"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core"
import { executable } from "./chromium.js"

/** The browser, until the scope ends. */
export const browser = Effect.acquireRelease(
  Effect.promise(() => chromium.launch({ executablePath: executable ?? "", args: ["--no-sandbox"] })),
  (open: Browser) => Effect.promise(() => open.close())
)

/** Where a handler of Node.js is served, until the scope ends. */
export const serving = (handler: (request: IncomingMessage, response: ServerResponse) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<{ readonly url: string; readonly close: Effect.Effect<void> }>((resume) => {
        const server = createServer(handler)
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          const port = typeof address === "object" && address !== null ? address.port : 0
          resume(
            Effect.succeed({
              url: `http://127.0.0.1:${port}/audit`,
              close: Effect.async<void>((closed) => {
                server.close(() => closed(Effect.void))
                server.closeAllConnections()
              })
            })
          )
        })
      }),
      ({ close }) => close
    ),
    ({ url }) => url
  )

/** What the page complains of: blocked by its policy, thrown, a dialog, or a request elsewhere. */
export const complaintsOf = (page: Page): Array<string> => {
  const complaints: Array<string> = []
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      complaints.push(message.text())
    }
  })
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on("request", (request) => {
    if (!request.url().startsWith("http://127.0.0.1:") && !request.url().startsWith("data:")) {
      complaints.push(`a request to ${request.url()}`)
    }
  })
  return complaints
}

/** A context of the browser for as long as it is used. */
export const within = <A>(
  browser: Browser,
  options: Parameters<Browser["newContext"]>[0],
  use: (context: BrowserContext) => Promise<A>
): Promise<A> =>
  browser.newContext(options).then(async (context) => {
    try {
      return await use(context)
    } finally {
      await context.close()
    }
  })
