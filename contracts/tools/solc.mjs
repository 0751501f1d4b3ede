// The pinned compiler (solc-js, WebAssembly) as a function: standard JSON in, standard JSON out.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

function load() {
  // soljson.js registers handlers that turn any later error of this process into its own exit: taken off again.
  const before = new Map(["uncaughtException", "unhandledRejection"].map((name) => [name, process.listeners(name)]));
  const compiler = require("solc/wrapper.js")(require("solc/soljson.js"));
  for (const [name, kept] of before) {
    process.removeAllListeners(name);
    for (const each of kept) process.on(name, each);
  }
  return compiler;
}

const compiler = load();
export const version = compiler.version();

/** Compile; `bases` are the folders in which an import that the input does not hold is looked for. */
export function compile(input, bases = [root, join(root, "node_modules")]) {
  const find = (path) => {
    for (const base of bases) {
      try {
        return { contents: readFileSync(join(base, path), "utf8") };
      } catch (error) {
        if (error.code !== "ENOENT") throw error;
      }
    }
    return { error: `${path} is nowhere below ${bases.join(", ")}` };
  };
  return compiler.compile(input, { import: find });
}
