// Prints events as they are published.
//
//   CALL_CONTROL_AMQP_URL=amqp://… node subscriber.js PATTERN COUNT
//
// PATTERN is "#" for all of them, "call_held.*" for a kind, "*.123XYZ" for a call.

const amqp = require("amqplib");

const namespace = process.env.CALL_CONTROL_NAMESPACE;
const events = `${namespace ? `${namespace}.` : ""}call_control.events`;
const [pattern, count] = process.argv.slice(2);

async function main() {
  const connection = await amqp.connect(process.env.CALL_CONTROL_AMQP_URL);
  const channel = await connection.createChannel();
  // A queue of one's own has to drop what it cannot hold: one that refuses would hold up the workers.
  const { queue } = await channel.assertQueue("", {
    exclusive: true,
    maxLength: 100_000,
    overflow: "drop-head",
  });
  await channel.bindQueue(queue, events, pattern);
  let seen = 0;
  await channel.consume(queue, (message) => {
    const { type, headers } = message.properties;
    const body = JSON.parse(message.content);
    console.log(JSON.stringify({ type, sequence: headers.sequence, body }));
    channel.ack(message);
    seen += 1;
    if (seen === Number(count)) channel.close().then(() => connection.close());
  });
  console.error("subscribed");
}

main();
