// Prints events that have been published already, from the first that is kept.
//
//   CALL_CONTROL_AMQP_URL=amqp://… node journal.js COUNT

const amqp = require("amqplib");

const namespace = process.env.CALL_CONTROL_NAMESPACE;
const journal = `${namespace ? `${namespace}.` : ""}call_control.events.journal`;
const [count] = process.argv.slice(2);

async function main() {
  const connection = await amqp.connect(process.env.CALL_CONTROL_AMQP_URL);
  const channel = await connection.createChannel();
  // A stream is read with a prefetch and acknowledgements, from wherever one likes: "first", "next",
  // a time, or the number behind the last x-stream-offset that was seen.
  await channel.prefetch(100);
  let seen = 0;
  await channel.consume(
    journal,
    (message) => {
      const { type, headers } = message.properties;
      const body = JSON.parse(message.content);
      console.log(JSON.stringify({ type, sequence: headers.sequence, body }));
      channel.ack(message);
      seen += 1;
      if (seen === Number(count)) channel.close().then(() => connection.close());
    },
    { arguments: { "x-stream-offset": "first" } },
  );
}

main();
